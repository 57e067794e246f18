"""Ogg Opus clips for tests, encoded with PyAV."""

from __future__ import annotations

import io

import av


def ogg_opus(pcm: bytes, sample_rate: int = 16000, frame_ms: int = 20) -> bytes:
    """Encode mono s16le; 48,000 Hz inside, as Opus is."""
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as container:
        options = {"frame_duration": str(frame_ms), "application": "audio"}
        stream = container.add_stream("libopus", rate=48000, layout="mono", options=options)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate = sample_rate
        frame.pts = 0
        resampler = av.AudioResampler(
            format="s16", layout="mono", rate=48000, frame_size=48 * frame_ms
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return out.getvalue()
