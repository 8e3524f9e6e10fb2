"""Django's database engines, with a deadline for every call."""
