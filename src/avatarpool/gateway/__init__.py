"""The gateway: sessions for clients of any language, as a network service."""
