"""The formats of dates, in a package for each language."""
