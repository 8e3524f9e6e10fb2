"""Engine.IO 4 without I/O: bytes in, events out. Imports the standard library only."""
