"""Faces for voice agents: `pipecat`, an extra, over `speech`, which any framework can use."""
