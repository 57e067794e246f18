"""The server side of the wire: who may come in, what is said, when it is over."""
