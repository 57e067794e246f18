"""The shipped clip as files of each kind, made by FFmpeg when a test asks for them."""

import io
from fractions import Fraction
from functools import cache

import av
import numpy as np
from speech import SPEECH_PCM

# FFmpeg's muxer and encoder, the rate and the layout.
KINDS = {
    "mp3": ("mp3", "libmp3lame", 44100, "stereo"),
    "mp3 of 22 kHz": ("mp3", "libmp3lame", 22050, "mono"),
    "mp3 of 11 kHz": ("mp3", "libmp3lame", 11025, "mono"),
    "flac": ("flac", "flac", 48000, "mono"),
    "m4a": ("ipod", "aac", 44100, "mono"),
    "m4a, lossless": ("ipod", "alac", 44100, "mono"),
    "mp4 in fragments": ("mp4", "aac", 44100, "mono"),
    "aac": ("adts", "aac", 24000, "mono"),
    "webm": ("webm", "libopus", 48000, "mono"),
    "matroska": ("matroska", "flac", 44100, "stereo"),
    "ogg vorbis": ("ogg", "vorbis", 44100, "stereo"),
    "ogg flac": ("ogg", "flac", 16000, "mono"),
    "aiff": ("aiff", "pcm_s16be", 44100, "mono"),
    "aiff, 24 bits": ("aiff", "pcm_s24be", 16000, "stereo"),
    "aifc, float": ("aiff", "pcm_f64be", 16000, "mono"),
    "aifc, mu-law": ("aiff", "pcm_mulaw", 16000, "mono"),
    "wav, A-law": ("wav", "pcm_alaw", 16000, "mono"),
    "wav, mu-law": ("wav", "pcm_mulaw", 16000, "mono"),
    "wav, 24 bits": ("wav", "pcm_s24le", 16000, "stereo"),
    "wave64": ("w64", "pcm_f32le", 22050, "mono"),
}
OPTIONS = {
    "ogg vorbis": {"strict": "-2"},
    "mp4 in fragments": {"movflags": "frag_keyframe+empty_moov"},
}


class Pipe(io.BytesIO):
    """A file in which nobody can seek back."""

    def seekable(self) -> bool:
        return False


@cache
def recording(kind: str) -> bytes:
    muxer, encoder, rate, layout = KINDS[kind]
    return encode(SPEECH_PCM, muxer, encoder, rate, layout, options=OPTIONS.get(kind))


def encode(pcm, muxer, encoder, rate, layout="mono", *, options=None, file=None) -> bytes:
    """The 16 kHz mono samples as a file."""
    file = io.BytesIO() if file is None else file
    with av.open(file, "w", format=muxer, options=options or {}) as container:
        stream = container.add_stream(encoder, rate=rate, layout=layout, options=options or {})
        samples = np.frombuffer(pcm, np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), 0
        for part in (frame, None):
            container.mux(stream.encode(part))
    return file.getvalue()
