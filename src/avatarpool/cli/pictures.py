"""An animation as pictures of the face of ``avatarpool view``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import BinaryIO

from avatarpool.animate import SAMPLE_RATE, Animation, Tick
from avatarpool.cli.options import AnimationFormat
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.view.contact_sheet import FACE_WIDTH, spread, write_contact_sheet
from avatarpool.view.face import Pose, pose_of
from avatarpool.view.film import write_gif, write_mp4
from avatarpool.view.painting import Painters


class Studio(Painters):
    """Paints one animation after another, by all cores.

    Args:
        kind: MP4, GIF or PNG.
    """

    def __init__(self, kind: AnimationFormat) -> None:
        super().__init__()
        self._kind = kind

    def write(self, animation: Animation, file: BinaryIO, tick: Tick) -> None:
        """Write an animation.

        Raises:
            ChildProcessError: A process that paints was killed.
        """
        keyframes, mark = animation.keyframes(), animation.mark
        if self._kind is AnimationFormat.PNG:
            shown = spread(sum(1 for _ in keyframes))
            chosen = (k for number, k in enumerate(animation.keyframes()) if number in shown)
            with closing(self.paint(_poses(chosen), FACE_WIDTH)) as faces:
                write_contact_sheet(file, faces, shown, tick, comment=mark)
            return
        with closing(self.paint(_poses(keyframes))) as pictures:
            if self._kind is AnimationFormat.GIF:
                write_gif(file, pictures, tick, comment=mark)
            else:
                write_mp4(file, pictures, animation.pcm, SAMPLE_RATE, tick, comment=mark)


def _poses(keyframes: Iterable[Keyframe]) -> Iterable[Pose]:
    return map(pose_of, keyframes)
