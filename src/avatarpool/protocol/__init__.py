"""The wire protocol without I/O: messages, codec, state tables, refusals."""
