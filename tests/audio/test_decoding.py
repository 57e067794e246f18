"""Files of every kind that people have, made by FFmpeg, and those that are made to do harm."""

import struct
import subprocess
import sys
import tracemalloc
import zlib

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import KINDS, Pipe, encode, recording
from speech import SPEECH_PCM, likeness

import avatarpool.audio.read
from avatarpool.audio import read_audio
from avatarpool.audio.containers import sniff
from avatarpool.exceptions import AudioError, ConfigurationError
from avatarpool.protocol.settings import AudioFormat

# Kinds that do not tell how long the encoder's run-up is: it is heard as silence.
RUN_UP = {"aac", "mp4 in fragments"}
DECODED = [kind for kind in KINDS if sniff(recording(kind)).demuxer]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_the_speech_that_went_in(kind):
    pcm = read_audio(recording(kind))
    delay = 1400 if kind in RUN_UP else 0
    assert abs(len(pcm) - len(SPEECH_PCM)) <= 2 * (delay + 100)
    assert likeness(pcm, SPEECH_PCM, max_delay=delay + 24) > 0.9


@pytest.mark.parametrize("kind", ["mp3", "m4a", "webm", "wav, A-law"])
def test_each_kind_is_encoded_for_an_ogg_opus_session(kind):
    encoded = read_audio(recording(kind), audio_format=AudioFormat.OGG_OPUS)
    assert likeness(read_audio(encoded), SPEECH_PCM) > 0.9


@pytest.mark.parametrize(
    ("muxer", "encoder"),
    [("wav", "pcm_s16le"), ("w64", "pcm_s16le"), ("aiff", "pcm_s16be"), ("flac", "flac")],
)
@pytest.mark.parametrize("count", [20000, 20001])
def test_what_a_program_wrote_to_a_pipe_is_read_to_its_end(muxer, encoder, count):
    pcm = SPEECH_PCM[: 2 * count]
    assert read_audio(encode(pcm, muxer, encoder, 16000, file=Pipe())) == pcm


@pytest.mark.parametrize("file", [None, "a pipe"])
def test_rf64_is_read(file):
    options = {"rf64": "always"}
    pipe = file and Pipe()
    wav = encode(SPEECH_PCM, "wav", "pcm_s16le", 16000, options=options, file=pipe)
    assert wav[:4] == b"RF64"
    assert read_audio(wav) == SPEECH_PCM


@pytest.mark.parametrize("kind", DECODED)
def test_without_pyav_the_error_names_the_file_and_the_extra(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    name = sniff(recording(kind)).name
    with pytest.raises(ConfigurationError, match=rf"{name} file: install avatarpool\[audio\]"):
        read_audio(recording(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_audio_beyond_the_limit_is_refused(kind, monkeypatch):
    limit = max(len(recording(kind)), 200_000)
    monkeypatch.setattr(avatarpool.audio.read, "MAX_AUDIO_BYTES", limit)
    read_audio(recording(kind))
    with pytest.raises(AudioError, match="cut it into pieces"):
        read_audio(recording(kind), sample_rate=192_000)


def test_mp3_files_that_were_joined_are_heard_one_after_the_other():
    one = read_audio(recording("mp3"))
    assert len(read_audio(recording("mp3") * 2)) > 1.9 * len(one)


def test_mp3_without_a_tag_and_from_its_middle_is_known_by_its_frames():
    mp3 = recording("mp3")
    sound = mp3[mp3.index(b"\xff\xfb", 1000) :]
    assert sniff(sound).name == "MP3"
    # The first frames lean on what is gone.
    assert likeness(SPEECH_PCM, read_audio(sound)[4000:-4000], max_delay=6000) > 0.9


def test_a_tag_is_no_reason_to_take_a_file_for_mp3():
    tag = b"ID3\4\0\0" + bytes([0, 0, 0, 20]) + bytes(20)
    for kind in ("flac", "aac"):
        assert read_audio(tag + recording(kind)) == read_audio(recording(kind))


@pytest.mark.parametrize(
    ("muxer", "encoder", "says"),
    [
        ("mp4", "ac3", r"M4A file's codec \(ac3\) is not read: convert it"),
        ("matroska", "pcm_s16le", r"WebM file's codec \(pcm_s16le\) is not read"),
    ],
)
def test_other_codecs_are_refused_by_their_name(muxer, encoder, says):
    data = encode(SPEECH_PCM, muxer, encoder, 48000)
    with pytest.raises(AudioError, match=says):
        read_audio(data)


def test_a_film_without_sound_holds_no_audio():
    file = Pipe()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="holds no audio"):
        read_audio(file.getvalue())


@pytest.mark.parametrize("kind", ["m4a", "flac", "wav, A-law", "aiff", "wave64"])
def test_a_file_that_was_cut_short_is_refused(kind):
    file = recording(kind)
    with pytest.raises(AudioError, match=r"cut short|cannot be decoded"):
        read_audio(file[: len(file) * 3 // 4])


# --- made to do harm -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def huge_tag():
    """An ID3 tag whose pictures FFmpeg would unpack to 600 MB."""

    def size(number):
        return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))

    packer = zlib.compressobj(9)
    picture = packer.compress(b"\0image/png\0\3\0")
    picture += b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    body = size(14 + (100 << 20)) + picture
    frames = (b"APIC" + size(len(body)) + b"\0\x09" + body) * 6
    return b"ID3\4\0\0" + size(len(frames)) + frames


READS = """
import resource, sys
from avatarpool.audio import read_audio
from avatarpool.exceptions import AudioError
for name in sys.argv[1:]:
    try:
        read_audio(name)
    except AudioError:
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peaks_of(folder, *files: bytes) -> list[int]:
    """MB that a process has had, FFmpeg's included, after each of the files."""
    names = []
    for number, file in enumerate(files):
        names.append(folder / f"{number}.bin")
        names[-1].write_bytes(file)
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", READS, *map(str, names)], capture_output=True, text=True, check=True
    )
    return [int(line) // 1024 for line in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is the system's")
def test_pictures_in_tags_are_not_unpacked(huge_tag, tmp_path):
    aiff, aac = recording("aiff"), recording("aac")
    chunk = b"ID3 " + struct.pack(">I", len(huge_tag)) + huge_tag + bytes(len(huge_tag) % 2)
    first, *_, last = peaks_of(
        tmp_path,
        recording("mp3"),
        huge_tag + recording("mp3"),
        huge_tag + recording("flac"),
        huge_tag + aac,
        aac + huge_tag + aac,
        aiff[:12] + chunk + aiff[12:],
        b"ID3\4\0\0\0\0\0\0" * 9 + huge_tag + recording("mp3"),
    )
    assert last - first < 60


def _announcing(kind: str, box: bytes, samples: int) -> bytes:
    file = bytearray(recording(kind))
    at = file.index(box)
    if box == b"trun":
        file[at + 6] &= 0xF0  # nothing is told of each sample
        file[at + 8 : at + 12] = struct.pack(">I", samples)
    else:
        file[at + 8 : at + 16] = struct.pack(">II", 1, samples)
    return bytes(file)


@pytest.mark.parametrize(("kind", "box"), [("mp4 in fragments", b"trun"), ("m4a", b"stsz")])
def test_samples_that_are_announced_alone_take_no_memory(kind, box):
    with pytest.raises(AudioError, match="announces 40000000 samples"):
        read_audio(_announcing(kind, box, 40_000_000))
    hidden = b"\0\0\0\x14trun\0\0\0\0" + b"stsz" + bytes(4)
    file = recording(kind)
    with pytest.raises(AudioError):  # one box lies across another
        read_audio(hidden + bytes(4) + struct.pack(">I", 40_000_000) + file)


def test_boxes_that_are_not_where_they_belong_are_refused():
    file = recording("m4a")
    free = struct.pack(">I4s", 24, b"free") + struct.pack(">I4s", 16, b"mdat") + bytes(8)
    with pytest.raises(AudioError, match="boxes are out of order"):
        read_audio(file + free)
    with pytest.raises(AudioError, match="boxes are damaged"):
        read_audio(file + struct.pack(">I4s", 4, b"free"))
    with pytest.raises(AudioError, match="boxes are damaged"):
        read_audio(file + struct.pack(">I4s", 8, b"free") * 300_000)


def test_silence_that_grows_is_refused_before_it_has(monkeypatch):
    silence = bytes(2 * 16000 * 60)
    file = encode(silence, "flac", "flac", 16000)
    assert len(file) < len(silence) // 20
    monkeypatch.setattr(avatarpool.audio.read, "MAX_AUDIO_BYTES", len(silence) // 2)
    with pytest.raises(AudioError, match="cut it into pieces"):
        read_audio(file)


@settings(deadline=None)
@given(
    st.sampled_from(DECODED),
    st.floats(0, 1),
    st.binary(min_size=1, max_size=40),
    st.booleans(),
)
def test_damaged_files_raise_audio_error_alone(kind, part, damage, is_cut):
    file = recording(kind)
    at = int(part * len(file))
    rest = b"" if is_cut else file[at + len(damage) :]
    try:
        pcm = read_audio(file[:at] + damage + rest)
    except AudioError:
        return
    assert len(pcm) % 2 == 0


BEGINNINGS = [b"fLaC\0\0\0\x22", b"OggS\0\2", b"\0\0\0\x1cftypM4A ", b"ID3\4\0\0\0\0\0\0"]
BEGINNINGS += [b"\x1a\x45\xdf\xa3\x9fB\x82\x84webm", b"FORM\0\0\0\0AIFF", b"RIFF\0\0\0\0WAVE"]


@settings(deadline=None)
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=400))
def test_a_beginning_alone_raises_audio_error_alone(beginning, rest):
    tracemalloc.start()
    try:
        read_audio(beginning + rest)
    except AudioError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 20e6
