"""Socket.IO 5 without I/O: messages in, events out. Imports the standard library only.

It knows nothing about Engine.IO: a message is text, or bytes for an attachment, no
matter what carries it.
"""
