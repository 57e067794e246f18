"""Files of every kind to what a session takes."""

import io
import sys
from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ogg_pages import FIRST, LAST, packets_page
from speech import SPEECH_PCM, SPEECH_WAV, likeness

import avatarpool.audio.read
from avatarpool.audio import OpusEncoder, read_audio
from avatarpool.exceptions import AudioError, ConfigurationError
from avatarpool.protocol.settings import AudioFormat

SPEECH_OGG = OpusEncoder(16000, application="audio").encode(SPEECH_PCM, end=True)

EMPTY_WAV = b"RIFF" + (36).to_bytes(4, "little") + SPEECH_WAV.read_bytes()[8:40] + bytes(4)


def ogg(codec: str, layout: str = "mono") -> bytes:
    """A fifth of a second of silence in another codec or layout."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream(codec, rate=48000, layout=layout)
        frame = av.AudioFrame("s16", layout, 9600)
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for part in (frame, None):
            for packet in stream.encode(part):
                container.mux(packet)
    return file.getvalue()


def test_a_wav_at_the_sessions_rate_is_its_samples():
    assert read_audio(SPEECH_WAV) == SPEECH_PCM
    assert read_audio(str(SPEECH_WAV)) == SPEECH_PCM
    assert read_audio(SPEECH_WAV.read_bytes()) == SPEECH_PCM


def test_a_wav_at_another_rate_is_resampled():
    pcm = read_audio(SPEECH_WAV, sample_rate=24000)
    assert len(pcm) == len(SPEECH_PCM) * 3 // 2
    heard = OpusEncoder(24000, application="audio").encode(pcm, end=True)
    assert likeness(read_audio(heard, sample_rate=16000), SPEECH_PCM) > 0.9


def test_ogg_opus_is_decoded_for_a_pcm_session():
    heard = read_audio(SPEECH_OGG, sample_rate=16000)
    assert abs(len(heard) - len(SPEECH_PCM)) <= 2 * 320
    assert likeness(heard, SPEECH_PCM) > 0.9


def test_ogg_opus_passes_as_it_is_to_an_ogg_opus_session(tmp_path):
    file = tmp_path / "speech.ogg"
    file.write_bytes(SPEECH_OGG)
    assert read_audio(file, audio_format=AudioFormat.OGG_OPUS) == SPEECH_OGG


def test_a_wav_is_encoded_for_an_ogg_opus_session():
    encoded = read_audio(SPEECH_WAV, sample_rate=24000, audio_format=AudioFormat.OGG_OPUS)
    assert likeness(read_audio(encoded), SPEECH_PCM) > 0.9


def test_stereo_opus_becomes_mono():
    encoded = read_audio(
        ogg("libopus", "stereo"), sample_rate=48000, audio_format=AudioFormat.OGG_OPUS
    )
    with av.open(io.BytesIO(encoded)) as container:
        assert container.streams.audio[0].codec_context.layout.name == "mono"


@pytest.mark.parametrize("name", ["speech.pcm", "SPEECH.RAW"])
def test_raw_pcm_passes_checked(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(SPEECH_PCM)
    assert read_audio(file) == SPEECH_PCM
    file.write_bytes(SPEECH_PCM[:-1])
    with pytest.raises(AudioError, match="no whole number of 16-bit samples"):
        read_audio(file)


def test_a_file_of_an_unknown_kind_may_be_raw_pcm_under_the_wrong_name(tmp_path):
    file = tmp_path / "speech.wav"
    file.write_bytes(SPEECH_PCM)
    with pytest.raises(AudioError, match=r"convert it, or name it \.pcm"):
        read_audio(file)


def test_a_wav_that_is_named_pcm_is_read_as_the_wav_it_is(tmp_path):
    file = tmp_path / "speech.pcm"
    file.write_bytes(SPEECH_WAV.read_bytes())
    assert read_audio(file) == SPEECH_PCM


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a text", "neither WAV, .*, M4A nor WebM: convert it$"),
        (b"", "the file is empty: choose a file with speech in it"),
        (SPEECH_WAV.read_bytes()[:1000], "cut short"),
        (EMPTY_WAV, "the file holds no audio: choose"),
        (SPEECH_OGG[:20], "cannot be decoded"),
    ],
    ids=["another format", "nothing", "cut short", "empty", "broken"],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(data, says):
    with pytest.raises(AudioError, match=says) as caught:
        read_audio(data)
    assert "\n" not in str(caught.value)


def test_an_empty_file_is_named(tmp_path):
    for name in ("empty.wav", "empty.pcm", "empty.mp3"):
        (tmp_path / name).touch()
        with pytest.raises(AudioError, match=f"the file '{name}' is empty"):
            read_audio(tmp_path / name)
    (tmp_path / "short.wav").write_bytes(EMPTY_WAV)
    with pytest.raises(AudioError, match=r"the file 'short\.wav' holds no audio"):
        read_audio(tmp_path / "short.wav")


@pytest.mark.parametrize("source", [SPEECH_WAV.read_bytes(), SPEECH_OGG])
def test_audio_beyond_the_limit_is_refused(source, monkeypatch):
    monkeypatch.setattr(avatarpool.audio.read, "MAX_AUDIO_BYTES", 2 * len(SPEECH_PCM))
    read_audio(source)
    with pytest.raises(AudioError, match="cut it into pieces"):
        read_audio(source, sample_rate=48000)


def test_opus_that_is_decoded_only_to_be_dropped_counts_as_well(monkeypatch):
    packets = [bytes([0b11111_0_11, 6])] * 50  # 120 ms each
    file = packets_page(b"OpusHead\1\1" + bytes(9), flags=FIRST) + packets_page(
        b"OpusTags" + bytes(8), sequence=1
    )
    for sequence in range(2, 6):  # each says that it is the last, and ends at the beginning
        file += packets_page(*packets, flags=LAST, sequence=sequence)
    decoded = 4 * 50 * 3840  # bytes at 16 kHz
    monkeypatch.setattr(avatarpool.audio.read, "MAX_AUDIO_BYTES", decoded)
    with pytest.raises(AudioError, match="holds no audio"):
        read_audio(file)
    monkeypatch.setattr(avatarpool.audio.read, "MAX_AUDIO_BYTES", decoded - 2 * 16000)
    with pytest.raises(AudioError, match="cut it into pieces"):
        read_audio(file)


def test_channels_beyond_a_pair_count_as_well(monkeypatch):
    stereo, surround = ogg("libopus", "stereo"), ogg("libopus", "5.1")
    monkeypatch.setattr(avatarpool.audio.read, "MAX_AUDIO_BYTES", 25_000)  # 0.26 s
    read_audio(stereo, sample_rate=48000)
    with pytest.raises(AudioError, match="cut it into pieces"):
        read_audio(surround, sample_rate=48000)


def test_tags_of_any_bytes_are_no_fault():
    comment = (4).to_bytes(4, "little") + b"\xff\xfe=\xff"
    tags = b"OpusTags" + bytes(4) + (1).to_bytes(4, "little") + comment
    file = packets_page(b"OpusHead\1\1" + bytes(9), flags=FIRST)
    file += packets_page(tags, sequence=1)
    file += packets_page(bytes([0b11111_0_00]), sequence=2, flags=LAST, granule=960)
    assert len(read_audio(file, sample_rate=48000)) == 2 * 960


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(avatarpool.audio.read, "MAX_AUDIO_BYTES", 1000)
    with pytest.raises(AudioError, match="larger than 1000 bytes"):
        read_audio("/dev/zero")


def test_a_missing_file_stays_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "none.wav")


def test_without_pyav_wav_still_works_and_ogg_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert read_audio(SPEECH_WAV) == SPEECH_PCM
    with pytest.raises(ConfigurationError, match=r"an Ogg file: install avatarpool\[audio\]"):
        read_audio(SPEECH_OGG)
    assert read_audio(SPEECH_OGG, audio_format=AudioFormat.OGG_OPUS) == SPEECH_OGG


@settings(deadline=None)
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=40))
def test_damaged_ogg_raises_audio_error_alone(at, damage):
    damaged = SPEECH_OGG[:at] + damage + SPEECH_OGG[at + len(damage) : 4000]
    try:
        pcm = read_audio(damaged)
    except AudioError:
        return
    assert len(pcm) % 2 == 0
