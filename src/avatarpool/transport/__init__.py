"""The WebSocket client."""
