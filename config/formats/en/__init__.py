"""How they are written in English."""
