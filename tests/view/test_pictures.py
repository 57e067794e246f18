"""The face as pictures, painted without a browser."""

import errno
import io

import av
import numpy as np
import pytest
from PIL import Image

from avatarpool import Keyframe
from avatarpool.view.contact_sheet import FACE_WIDTH, spread, write_contact_sheet
from avatarpool.view.face import pose_of
from avatarpool.view.film import write_gif, write_mp4
from avatarpool.view.portrait import HEIGHT, WIDTH, portrait

SHUT, OPEN = Keyframe(), Keyframe(jaw_pose=(0.25, 0.0, 0.0))
HAIR = (200, 40)  # a place within it, and one of the mouth when it is open
MOUTH = (200, 318)


def painted(keyframes, width=WIDTH):
    """The keyframes' portraits, each pose painted once."""
    portraits = {id(k): portrait(pose_of(k), width) for k in {id(k): k for k in keyframes}.values()}
    return [portraits[id(keyframe)] for keyframe in keyframes]


def ignore():
    """Take a tick."""


def colours(picture, place):
    """The mean colour around a place, of 0 to 255."""
    x, y = place
    return np.asarray(picture.convert("RGB"))[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))


def opening(picture):
    """How dark it is around the mouth: what the teeth leave of its inside."""
    grey = np.asarray(picture.convert("L"), float)
    return float((grey[280:360, 150:250] < 60).mean())


def test_a_portrait_has_the_drawings_size_and_no_hole():
    picture = portrait({})
    assert (picture.mode, picture.size) == ("RGB", (WIDTH, HEIGHT))
    assert picture.getpixel((0, 0)) == (0xE9, 0xED, 0xF2)
    red, green, blue = colours(picture, HAIR)
    assert 60 < red < 140
    assert red > green > blue


def test_a_portrait_may_be_smaller():
    assert portrait({}, 200).size == (200, 225)


def test_the_painted_mouth_opens_with_the_jaw():
    openings = [
        opening(portrait(pose_of(Keyframe(jaw_pose=(jaw, 0.0, 0.0)))))
        for jaw in (0.0, 0.1, 0.2, 0.3)
    ]
    assert openings[0] < 0.03
    assert openings == sorted(openings)
    assert openings[3] > 0.08


def test_an_mp4_shows_the_keyframes_in_step_with_the_sound():
    poses = [SHUT] * 5 + [OPEN] * 5
    tone = (8000 * np.sin(np.arange(3200) * 0.2)).astype("<i2")
    pcm = bytes(2 * 3200) + tone.tobytes() + tone[:100].tobytes()  # a bit more than ten pictures
    file, ticks = io.BytesIO(), []
    write_mp4(file, painted(poses), pcm, 16000, lambda: ticks.append(1), comment="a comment")
    assert len(ticks) == 10
    with av.open(io.BytesIO(file.getvalue())) as film:
        assert film.metadata["comment"] == "a comment"
        assert [stream.codec_context.name for stream in film.streams] == ["h264", "aac"]
        audio = film.streams.audio[0]
        assert audio.duration * audio.time_base * 16000 == pytest.approx(6500, abs=16)
        pictures = list(film.decode(video=0))
    assert [round(picture.time, 3) for picture in pictures] == [0.04 * n for n in range(10)]
    openings = [opening(picture.to_image()) for picture in pictures]
    assert max(openings[:5]) < 0.03
    assert min(openings[5:]) > 0.05
    with av.open(io.BytesIO(file.getvalue())) as film:
        frames = [(frame.time, frame.to_ndarray()) for frame in film.decode(audio=0)]
    sound = np.concatenate([samples[0] for time, samples in frames if time >= 0])
    # The codec smears by less than a picture's length.
    assert np.abs(sound[:2500]).max() < 0.05
    assert np.abs(sound[3800:6000]).max() > 0.2


def test_a_gif_repeats_and_keeps_the_colours():
    file, ticks = io.BytesIO(), []
    write_gif(file, painted([SHUT, OPEN, SHUT]), lambda: ticks.append(1), comment="a comment")
    assert len(ticks) == 3
    with Image.open(file) as film:
        assert (film.format, film.size, film.n_frames) == ("GIF", (WIDTH, HEIGHT), 3)
        assert film.info["loop"] == 0
        openings = []
        for number in range(3):
            film.seek(number)
            assert film.info["duration"] == 40
            openings.append(opening(film))
            for place in (HAIR, MOUTH, (2, 2)):
                painting = painted([(SHUT, OPEN, SHUT)[number]])[0]
                assert np.abs(colours(film, place) - colours(painting, place)).max() < 12
    assert openings[0] < 0.03 < openings[1] > 0.05 > openings[2]
    assert file.getvalue().endswith(b"!\xfe\x09a comment\0;")  # a comment extension, and the end


class FullDisk(io.BytesIO):
    def write(self, data):
        if self.tell() + len(data) > 3000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize(
    "write",
    [
        lambda file, pictures: write_gif(file, pictures, ignore),
        lambda file, pictures: write_mp4(file, pictures, bytes(32000), 16000, ignore),
    ],
)
def test_a_film_on_a_full_disk_fails_as_any_file_does(write):
    with pytest.raises(OSError, match="No space left on device"):
        write(FullDisk(), painted([SHUT, OPEN] * 10))


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, (232, 287)), (4, (880, 287)), (7, (1312, 558))],
)
def test_a_contact_sheet_is_as_large_as_its_faces_need(count, size):
    file, ticks = io.BytesIO(), []
    faces = painted([SHUT] * count, FACE_WIDTH)
    write_contact_sheet(file, faces, range(count), lambda: ticks.append(1), comment="a comment")
    assert len(ticks) == count
    with Image.open(file) as sheet:
        assert (sheet.format, sheet.size) == ("PNG", size)
        assert sheet.text == {"Comment": "a comment"}


def test_a_contact_sheet_shows_the_clip_from_the_first_to_the_last_keyframe():
    poses = [OPEN, *[SHUT] * 98, OPEN]
    file = io.BytesIO()
    numbers = spread(len(poses))
    assert (numbers[0], numbers[-1], len(set(numbers))) == (0, 99, 24)
    faces = painted([poses[number] for number in numbers], FACE_WIDTH)
    write_contact_sheet(file, faces, numbers, ignore)
    with Image.open(file) as sheet:
        assert sheet.size == (1312, 1100)
        faces = [
            sheet.crop((16 + column * 216, 16 + row * 271, 216 + column * 216, 241 + row * 271))
            for row in range(4)
            for column in range(6)
        ]
    openings = [opening(face.resize((WIDTH, HEIGHT))) for face in faces]
    assert min(openings[0], openings[-1]) > 0.05
    assert max(openings[1:-1]) < 0.03
