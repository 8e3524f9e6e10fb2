"""Socket.IO 5 without I/O: messages in, events out. Imports the standard library alone.

It knows nothing of Engine.IO: a message is text, or bytes for an attachment, whatever
carries it.
"""
