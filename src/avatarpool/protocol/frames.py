"""One animation message: its bytes as they came, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import ClassVar, NamedTuple

from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe, decode_keyframes
from avatarpool.protocol.varints import prefixed, varint

_new = object.__new__

_MAX_NAMES = 1024  # characters; a peer's longer ones are not kept beyond its frames


class FrameHeader(NamedTuple):
    """What frames that look alike share: all but their bytes.

    A tuple and no dataclass: where frames do not look alike, one is made for each.
    """

    req_id: str
    end: bool
    connection_id: str
    avatar_id: str
    place: slice  # of the animation in the message


def around_animation(
    req_id: str,
    end: bool,  # noqa: FBT001
    size: int,
    connection_id: str,
    avatar_id: str,
) -> tuple[bytes, bytes, FrameHeader]:
    """Return what is written before and after an animation of ``size`` bytes, and the header.

    Remembered, as a request's frames ask for the same again and again: writing
    it anew takes twelve times as long, which is longer than protobuf does.
    """
    if len(req_id) + len(connection_id) + len(avatar_id) > _MAX_NAMES:
        return _around.__wrapped__(req_id, end, size, connection_id, avatar_id)
    return _around(req_id, end, size, connection_id, avatar_id)


@lru_cache(256)  # two for each request that is being answered
def _around(
    req_id: str,
    end: bool,  # noqa: FBT001
    size: int,
    connection_id: str,
    avatar_id: str,
) -> tuple[bytes, bytes, FrameHeader]:
    before = after = b""
    if connection_id:
        before += b"\x0a" + prefixed(connection_id.encode())
    if req_id:
        before += b"\x12" + prefixed(req_id.encode())
    if end:
        before += b"\x18\x01"
    if size:
        before += b"\x22" + varint(size)
    if avatar_id:
        after = b"\x2a" + prefixed(avatar_id.encode())
    before = b"\x08\x05\x32" + varint(len(before) + size + len(after)) + before
    place = slice(len(before), len(before) + size)
    return before, after, FrameHeader(req_id, bool(end), connection_id, avatar_id, place)


class AnimationFrame:
    """Server to client: one animation message of a request, the last with ``end``.

    ``bytes(frame)`` is the whole serialised message: the very bytes that came,
    fields that this version does not know included, and no copy of them.
    ``len(frame)`` is their number. Frames are equal whose five attributes are.

    Args:
        req_id: The request it belongs to.
        end: Whether it is the request's last frame.
        animation: A serialised ``FlameAnimation``; may be empty.
        connection_id: The connection it came over.
        avatar_id: The avatar it animates.
    """

    __slots__ = ("_data", "_header")
    __match_args__ = ("req_id", "end", "animation", "connection_id", "avatar_id")

    fps: ClassVar[int] = FRAMES_PER_SECOND
    """Keyframes per second of audio."""

    def __init__(
        self,
        req_id: str,
        end: bool = False,  # noqa: FBT001, FBT002
        animation: bytes = b"",
        connection_id: str = "",
        avatar_id: str = "",
    ) -> None:
        before, after, self._header = around_animation(
            req_id, end, len(animation), connection_id, avatar_id
        )
        self._data = b"".join((before, animation, after))

    def __bytes__(self) -> bytes:
        return self._data

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AnimationFrame):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[Callable[..., AnimationFrame], tuple[bytes, FrameHeader]]:
        return frame_of, (self._data, self._header)

    def __repr__(self) -> str:
        return (
            f"AnimationFrame(req_id={self.req_id!r}, end={self.end}, "
            f"{len(self.animation)} bytes, connection_id={self.connection_id!r})"
        )

    @property
    def req_id(self) -> str:
        """The request it belongs to."""
        return self._header.req_id

    @property
    def end(self) -> bool:
        """Whether it is the request's last frame."""
        return self._header.end

    @property
    def animation(self) -> bytes:
        """A serialised ``FlameAnimation``, cut out anew at each call; may be empty."""
        return self._data[self._header.place]

    @property
    def connection_id(self) -> str:
        """The connection it came over."""
        return self._header.connection_id

    @property
    def avatar_id(self) -> str:
        """The avatar it animates."""
        return self._header.avatar_id

    @property
    def has_animation(self) -> bool:
        """Whether the message carries any animation at all."""
        return bool(self.animation)

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The animation's keyframes, decoded anew at each call.

        Their time counts from the first of them, as a message does not say where in
        its request it stands; `keyframes_of` counts from the request's beginning.

        Raises:
            AvatarSDKError: The bytes are no ``FlameAnimation`` (``protocolError``).
        """
        return decode_keyframes(self.animation)

    def _values(self) -> tuple[str, bool, bytes, str, str]:
        return self.req_id, self.end, self.animation, self.connection_id, self.avatar_id


def keyframes_of(frames: Iterable[AnimationFrame], first: int = 0) -> Iterator[Keyframe]:
    """Decode the keyframes of frames one after another, with their time in the request.

    Args:
        frames: A request's, in the order in which they came; some of them, or one.
        first: How many keyframes of the request came before these frames.

    Raises:
        AvatarSDKError: A frame's bytes are no ``FlameAnimation`` (``protocolError``).
    """
    for frame in frames:
        keyframes = decode_keyframes(frame.animation, first)
        yield from keyframes
        first += len(keyframes)


def frame_of(data: bytes, header: FrameHeader) -> AnimationFrame:
    """Make the frame of a message that says this; nothing is checked or copied."""
    frame = _new(AnimationFrame)
    frame._data = data  # noqa: SLF001
    frame._header = header  # noqa: SLF001
    return frame
