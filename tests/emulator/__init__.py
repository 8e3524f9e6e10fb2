"""The four providers' APIs on loopback, with every way they fail; for tests only."""
