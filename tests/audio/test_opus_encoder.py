"""PCM to Ogg Opus, heard again through PyAV's decoder."""

import io
import sys

import av
import pytest
from speech import SPEECH_PCM, likeness

from avatarpool.audio import OpusEncoder
from avatarpool.exceptions import AudioError, ConfigurationError, SessionStateError
from avatarpool.protocol.settings import OPUS_SAMPLE_RATES


def decode(ogg: bytes, rate: int) -> tuple[bytes, int]:
    """The PCM at ``rate`` and the number of samples at Opus's own 48 kHz."""
    with av.open(io.BytesIO(ogg)) as container:
        frames = list(container.decode(audio=0))
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    pcm = bytearray()
    for frame in (*frames, None):
        for part in resampler.resample(frame):
            pcm += bytes(part.planes[0])[: part.samples * 2]
    return bytes(pcm), sum(frame.samples for frame in frames)


def encode(pcm: bytes, encoder: OpusEncoder, piece_bytes: int) -> list[bytes]:
    starts = range(0, len(pcm), piece_bytes)
    return [
        encoder.encode(pcm[at : at + piece_bytes], end=at + piece_bytes >= len(pcm))
        for at in starts
    ]


@pytest.mark.parametrize("rate", OPUS_SAMPLE_RATES)
@pytest.mark.parametrize("frame_duration_ms", [10, 20, 40, 60])
def test_every_rate_and_frame_keeps_the_length(rate, frame_duration_ms):
    pcm = SPEECH_PCM[: rate + 34]  # half a second and no whole number of frames
    pages = encode(pcm, OpusEncoder(rate, frame_duration_ms=frame_duration_ms), 1000)
    _, samples = decode(b"".join(pages), rate)
    assert abs(samples - len(pcm) // 2 * 48000 // rate) <= frame_duration_ms * 48


@pytest.mark.parametrize(
    ("application", "least"),
    # For calls, Opus cuts what lies under a voice, which turns phases too.
    [("audio", 0.95), ("restricted_lowdelay", 0.95), ("voip", 0.75)],
)
def test_speech_is_heard_again(application, least):
    encoder = OpusEncoder(16000, application=application)
    ogg = b"".join(encode(SPEECH_PCM, encoder, 3200))
    heard, _ = decode(ogg, 16000)
    assert likeness(heard, SPEECH_PCM) > least


def test_pages_come_while_audio_still_does():
    # 40 ms in, and at most 60 ms of page and 20 ms of frame held back.
    pages = encode(SPEECH_PCM, OpusEncoder(16000), 1280)
    assert pages[0].startswith(b"OggS")
    assert all(any(pages[at : at + 3]) for at in range(len(pages) - 3))
    sent = 0
    for count, page in enumerate(pages, 1):
        sent += len(page)
        if count == len(pages) // 2:
            assert sent > 0.4 * sum(map(len, pages))


def test_the_pieces_make_one_stream_that_ends_once():
    ogg = b"".join(encode(SPEECH_PCM, OpusEncoder(24000), 7000))
    flags = [ogg[at + 5] for at in range(len(ogg)) if ogg.startswith(b"OggS\0", at)]
    assert [flag & 2 for flag in flags].count(2) == 1
    assert [flag & 4 for flag in flags] == [0] * (len(flags) - 1) + [4]


def test_the_bitrate_is_kept():
    small = b"".join(encode(SPEECH_PCM, OpusEncoder(16000, bitrate=12000), 3200))
    large = b"".join(encode(SPEECH_PCM, OpusEncoder(16000, bitrate=96000), 3200))
    assert len(small) * 2 < len(large)


def test_the_end_may_come_without_audio():
    encoder = OpusEncoder(16000)
    ogg = encoder.encode(SPEECH_PCM[:6400], end=False) + encoder.encode(b"", end=True)
    assert decode(ogg, 16000)[1] == 9600


def test_a_stream_without_any_audio_ends_without_error():
    OpusEncoder(16000).encode(b"", end=True)


def test_an_ended_encoder_takes_no_more():
    encoder = OpusEncoder(16000)
    encoder.encode(SPEECH_PCM[:640], end=True)
    assert repr(encoder) == "<OpusEncoder 16000 Hz, 320 samples, ended>"
    with pytest.raises(SessionStateError, match="make one per request"):
        encoder.encode(SPEECH_PCM[:640], end=False)


def test_half_a_sample_is_refused_and_changes_nothing():
    encoder = OpusEncoder(16000)
    with pytest.raises(AudioError, match="3 bytes"):
        encoder.encode(b"123", end=True)
    assert repr(encoder) == "<OpusEncoder 16000 Hz, 0 samples, open>"


def test_all_that_is_wrong_with_a_configuration_is_said_at_once():
    with pytest.raises(ConfigurationError) as caught:
        OpusEncoder(44100, frame_duration_ms=25, application="music")
    assert len(caught.value.problems) == 3


def test_without_pyav_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        ConfigurationError, match=r"Ogg Opus cannot be written: install avatarpool\[audio\]"
    ):
        OpusEncoder(16000)
