"""Faces for voice agents: `pipecat` and `livekit`, extras, over `speech`, which any can use."""
