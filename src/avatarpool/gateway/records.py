"""What the animation of an upload is written as: lines, events or messages. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Protocol

from avatarpool.exceptions import AvatarSDKError
from avatarpool.gateway import problems
from avatarpool.gateway.failures import Failure
from avatarpool.protocol.codec import encode
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe
from avatarpool.protocol.messages import AnimationFrame, ServerError
from avatarpool.protocol.readdressing import Readdressing

_DECIMALS = 6  # a millionth of a radian; a float32 near 1 has hardly more
_FIELDS = [field.name for field in fields(Keyframe)]

Record = dict[str, object]


class BrokenFrame(Exception):
    """A frame of the service that cannot be written."""


class Frames(Protocol):
    """What frames are told as."""

    def records(self, frame: AnimationFrame) -> Iterator[Record]:
        """Yield what a frame is, in the order of time."""


class Flame:
    """A ``keyframe`` for each pose, with its time in seconds and the FLAME parameters."""

    def __init__(self, readdressing: Readdressing) -> None:
        del readdressing
        self._count = 0

    def records(self, frame: AnimationFrame) -> Iterator[Record]:
        """Yield the keyframes of a frame."""
        for keyframe in frame.keyframes:
            told: Record = {"type": "keyframe", "time": self._count / FRAMES_PER_SECOND}
            for name in _FIELDS:
                told[name] = [round(value, _DECIMALS) for value in getattr(keyframe, name)]
            self._count += 1
            yield told


class Whole:
    """A ``message`` for each frame: the serialised `Message` in base64, under the gateway's ids."""

    def __init__(self, readdressing: Readdressing) -> None:
        self._readdressing = readdressing

    def records(self, frame: AnimationFrame) -> Iterator[Record]:
        """Yield the frame."""
        data = base64.b64encode(self._readdressing.message(frame)).decode()
        yield {"type": "message", "message": data}


FRAMES: dict[str, Callable[[Readdressing], Frames]] = {
    "flame": Flame,
    "message": Whole,
}
"""What a client may ask frames as: ``frames=``. Others are added here."""


class Writing(Protocol):
    """One answer, from its first frame to its end."""

    def frame(self, frame: AnimationFrame) -> bytes:
        """Return what is written of a frame, perhaps nothing.

        Raises:
            BrokenFrame: It cannot be.
        """

    def end(self, failure: Failure | None) -> bytes:
        """Return what is written at last: that it was all, or why it was not."""


class Lines:
    """A JSON object a line.

    Args:
        readdressing: Gives frames the gateway's ids.
        frames: What frames are told as.
    """

    def __init__(self, readdressing: Readdressing, frames: str) -> None:
        self._frames = FRAMES[frames](readdressing)
        self._records = 0

    def frame(self, frame: AnimationFrame) -> bytes:
        """Write a frame; as of a `Writing`."""
        try:
            records = list(self._frames.records(frame))
            self._records += len(records)
            return b"".join(map(self._written, records))
        except (AvatarSDKError, ValueError) as error:  # values that are infinite, or no numbers
            raise BrokenFrame from error

    def end(self, failure: Failure | None) -> bytes:
        """Write the end; as of a `Writing`."""
        if failure is None:
            return self._written({"type": "end", "records": self._records})
        return self._written(problems.details(failure) | {"type": "error"})

    def _written(self, record: Record) -> bytes:
        return _compact(record) + b"\n"


class Events(Lines):
    """A server-sent event for each record, which its type names."""

    def _written(self, record: Record) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (str(record["type"]).encode(), _compact(record))


class Messages:
    """Each message after its length, in four bytes; the last has ``end``, or is a ServerError.

    Args:
        readdressing: Gives frames the gateway's ids.
        connection_id: Those of the error.
        req_id: ...
    """

    def __init__(self, readdressing: Readdressing, connection_id: str, req_id: str) -> None:
        self._readdressing = readdressing
        self._ids = connection_id, req_id

    def frame(self, frame: AnimationFrame) -> bytes:
        """Write a frame; as of a `Writing`."""
        return _prefixed(self._readdressing.message(frame))

    def end(self, failure: Failure | None) -> bytes:
        """Write the end; as of a `Writing`."""
        if failure is None:
            return b""  # the last frame says so
        return _prefixed(encode(ServerError(failure.code, failure.message, *self._ids)))


LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
MESSAGES = "application/vnd.avatarpool.messages"
CONTENT_TYPES = (LINES, EVENTS, MESSAGES)
"""What answers are written as; the first is for who takes anything."""


def chosen(accept: str) -> str | None:
    """Return the content type that a client prefers by its ``Accept`` (RFC 9110, 12.5.1)."""
    ranges = {}
    for part in accept.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        ranges[name] = min([_quality(each) for each in parameters], default=1.0)
    if not accept.strip():
        return LINES

    def quality(content_type: str) -> float:
        kind = content_type.partition("/")[0]
        for name in (content_type, f"{kind}/*", "*/*"):
            if name in ranges:
                return ranges[name]
        return 0.0

    best = max(CONTENT_TYPES, key=quality)
    return best if quality(best) > 0 else None


def writing(content_type: str, frames: str, connection_id: str, req_id: str) -> Writing:
    """Begin an answer."""
    readdressing = Readdressing(connection_id, req_id)
    if content_type == MESSAGES:
        return Messages(readdressing, connection_id, req_id)
    return (Events if content_type == EVENTS else Lines)(readdressing, frames)


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0


def _compact(value: Record) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _prefixed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message
