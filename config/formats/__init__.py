"""How dates are written, a package for each language."""
