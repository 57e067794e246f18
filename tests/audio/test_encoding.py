"""What a session's encoder makes of one request after another."""

from __future__ import annotations

import pytest

from avatarpool.audio import RequestEncoder
from avatarpool.config import OggOpusEncoderConfig, SessionConfig
from avatarpool.exceptions import SessionStateError
from avatarpool.protocol.settings import AudioFormat

PCM = bytes(16000)


def encoder(**fields: object) -> RequestEncoder:
    keys = {"avatar_id": "a", "api_key": "k", "app_id": "b"}
    return RequestEncoder(SessionConfig(**keys, **fields))


@pytest.fixture
def opus() -> RequestEncoder:
    return encoder(
        audio_format=AudioFormat.OGG_OPUS,
        ogg_opus_encoder=OggOpusEncoderConfig(),
        on_encoded_audio=lambda req_id, audio: None,
    )


def test_audio_that_needs_no_encoding_passes_through():
    plain = encoder()
    assert plain.encode(PCM, end=True, is_first=True) is PCM
    assert plain.finish() is None


def test_each_request_is_a_stream_of_its_own(opus: RequestEncoder):
    for _ in range(2):
        parts = [
            bytes(opus.encode(PCM, end=end, is_first=is_first))
            for end, is_first in ((False, True), (True, False))
        ]
        assert parts[0].startswith(b"OggS")
        assert opus.finish() == b"".join(parts)


def test_the_end_can_be_sent_again_after_a_send_of_it_was_cancelled(opus: RequestEncoder):
    encoded = opus.encode(PCM, end=True, is_first=True)
    assert opus.encode(b"", end=True, is_first=False) == b""
    assert opus.finish() == encoded


def test_nothing_follows_the_end(opus: RequestEncoder):
    opus.encode(PCM, end=True, is_first=True)
    with pytest.raises(SessionStateError):
        opus.encode(PCM, end=True, is_first=False)
