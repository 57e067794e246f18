"""What send_audio() refuses before anything is sent."""

from array import array

import pytest
from recordings import recording

from avatarpool.audio import check_audio
from avatarpool.exceptions import AudioError
from avatarpool.protocol.settings import AudioFormat

PCM, OGG = AudioFormat.PCM_S16LE, AudioFormat.OGG_OPUS
WAV_HEADER = b"RIFF\x24\0\0\0WAVEfmt "


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
@pytest.mark.parametrize(
    ("audio", "audio_format"), [(b"\1\2\3\4", PCM), (b"", PCM), (b"OggS\0", OGG), (b"", OGG)]
)
def test_sound_audio_passes(make, audio, audio_format):
    check_audio(make(audio), audio_format, is_first=True)


@pytest.mark.parametrize(
    ("audio", "audio_format", "says"),
    [
        (b"123", PCM, "3 bytes are no whole number of 16-bit samples"),
        (WAV_HEADER, PCM, "avatarpool.audio.read_audio"),
        (memoryview(WAV_HEADER), PCM, "a WAV file came"),
        (b"OggS\0\2", PCM, "an Ogg file came.*or set audio_format to 'ogg_opus'"),
        (b"ID3\4\0\0\0\0\0\0", PCM, "an MP3 file came"),
        (b"fLaC\0\0\0\x22", PCM, "a FLAC file came"),
        (b"\0\0\0\0", OGG, "must begin with an Ogg page"),
        (WAV_HEADER, OGG, "must begin with an Ogg page, not with a WAV file"),
        (b"RIFF", OGG, "must begin with an Ogg page, not with b'RIFF'"),
        (b"ID3\4\0\0\0\0\0\0", OGG, "not with an MP3 file"),
        ("speech.wav", PCM, "must be bytes, not str"),
        (None, OGG, "must be bytes, not NoneType"),
        (memoryview(array("h", [1, 2])), PCM, r"use \.cast"),
        (memoryview(b"abcdefgh")[::2], PCM, r"use \.cast"),
    ],
)
def test_audio_that_the_service_would_misread_is_refused(audio, audio_format, says):
    with pytest.raises(AudioError, match=says):
        check_audio(audio, audio_format, is_first=True)


@pytest.mark.parametrize("kind", ["wav, mu-law", "mp3", "aac", "m4a", "webm", "ogg vorbis"])
def test_a_file_is_noticed_in_any_piece_of_pcm(kind):
    for piece in (recording(kind), recording(kind)[:4096]):
        with pytest.raises(AudioError, match="file came"):
            check_audio(piece, PCM, is_first=False)


def test_later_pieces_of_an_ogg_stream_may_hold_anything():
    check_audio(WAV_HEADER, OGG, is_first=False)
    check_audio(b"\0\0\0", OGG, is_first=False)


def test_later_pieces_of_pcm_hold_whole_samples():
    check_audio(b"\0\0", PCM, is_first=False)
    with pytest.raises(AudioError, match="cut audio at even offsets"):
        check_audio(b"\0\0\0", PCM, is_first=False)


def test_an_ogg_stream_may_start_with_less_than_a_page_header():
    check_audio(b"Og", OGG, is_first=True)
    with pytest.raises(AudioError):
        check_audio(b"Ox", OGG, is_first=True)
