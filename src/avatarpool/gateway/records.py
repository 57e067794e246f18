"""What the animation of an upload is written as: lines, events or messages. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Protocol

from avatarpool.blendshapes import Basis, arkit, visemes, vrm
from avatarpool.exceptions import AvatarSDKError
from avatarpool.gateway import problems
from avatarpool.gateway.failures import Failure
from avatarpool.protocol.codec import encode
from avatarpool.protocol.frames import keyframes_of
from avatarpool.protocol.keyframes import Keyframe
from avatarpool.protocol.messages import AnimationFrame, ServerError
from avatarpool.protocol.readdressing import Readdressing

_DECIMALS = 6  # a millionth of a radian; a float32 near 1 has hardly more
_PARAMETERS = [field.name for field in fields(Keyframe) if field.name != "time"]

Record = dict[str, object]
Weights = Callable[[Keyframe, Basis | None], dict[str, float]]


class BrokenFrame(Exception):
    """A frame of the service that cannot be written."""


class Frames(Protocol):
    """What frames are told as."""

    def records(self, frame: AnimationFrame) -> Iterator[Record]:
        """Yield what a frame is, in the order of time."""


class Flame:
    """A ``keyframe`` for each pose, with its time in seconds and the FLAME parameters."""

    def __init__(self) -> None:
        self._count = 0

    def records(self, frame: AnimationFrame) -> Iterator[Record]:
        """Yield the keyframes of a frame."""
        for keyframe in keyframes_of([frame], self._count):
            told: Record = {"type": "keyframe", "time": round(keyframe.time, _DECIMALS)}
            for name in _PARAMETERS:
                told[name] = [round(value, _DECIMALS) for value in getattr(keyframe, name)]
            self._count += 1
            yield told


class Faces:
    """A record for each pose, with its time in seconds and the weights of another face.

    Args:
        kind: What the records are called.
        mapping: Gives the weights.
        basis: Whose expression coefficients the service's are, if that is known.
    """

    def __init__(self, kind: str, mapping: Weights, basis: Basis | None) -> None:
        self._kind = kind
        self._mapping = mapping
        self._basis = basis
        self._count = 0

    def records(self, frame: AnimationFrame) -> Iterator[Record]:
        """Yield the weights of a frame's keyframes."""
        for keyframe in keyframes_of([frame], self._count):
            weights = self._mapping(keyframe, self._basis)
            self._count += 1
            yield {
                "type": self._kind,
                "time": round(keyframe.time, _DECIMALS),
                "weights": {name: round(value, _DECIMALS) for name, value in weights.items()},
            }


class Whole:
    """A ``message`` for each frame: the serialised `Message` in base64, under the gateway's ids."""

    def __init__(self, readdressing: Readdressing) -> None:
        self._readdressing = readdressing

    def records(self, frame: AnimationFrame) -> Iterator[Record]:
        """Yield the frame."""
        data = base64.b64encode(self._readdressing.message(frame)).decode()
        yield {"type": "message", "message": data}


MESSAGE = "message"

FRAMES: dict[str, Callable[[Readdressing, Basis | None], Frames]] = {
    "flame": lambda _, __: Flame(),
    MESSAGE: lambda readdressing, _: Whole(readdressing),
    "arkit": lambda _, basis: Faces("arkit", arkit, basis),
    "visemes": lambda _, basis: Faces("visemes", visemes, basis),
    "vrm": lambda _, basis: Faces("vrm", vrm, basis),
}
"""What a client may ask frames as: ``frames=``."""


def told_as(
    frames: str, readdressing: Readdressing, basis: Basis | None
) -> Callable[[AnimationFrame], list[Record]]:
    """Return what tells frames as records, one after another.

    It raises `BrokenFrame` for one that cannot be told.
    """
    told = FRAMES[frames](readdressing, basis)

    def records(frame: AnimationFrame) -> list[Record]:
        try:
            return list(told.records(frame))
        except AvatarSDKError as error:
            raise BrokenFrame from error

    return records


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
        told: Tells frames as records.
    """

    def __init__(self, told: Callable[[AnimationFrame], list[Record]]) -> None:
        self._told = told
        self._records = 0

    def frame(self, frame: AnimationFrame) -> bytes:
        """Write a frame; as of a `Writing`."""
        records = self._told(frame)
        self._records += len(records)
        try:
            return b"".join(map(self._written, records))
        except ValueError as error:  # values that are infinite, or no numbers
            raise BrokenFrame from error

    def end(self, failure: Failure | None) -> bytes:
        """Write the end; as of a `Writing`."""
        if failure is None:
            return self._written({"type": "end", "records": self._records})
        return self._written(problems.details(failure) | {"type": "error"})

    def _written(self, record: Record) -> bytes:
        return compact(record) + b"\n"


class Events(Lines):
    """A server-sent event for each record, which its type names."""

    def _written(self, record: Record) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (str(record["type"]).encode(), compact(record))


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


def writing(
    content_type: str, frames: str, basis: Basis | None, connection_id: str, req_id: str
) -> Writing:
    """Begin an answer."""
    readdressing = Readdressing(connection_id, req_id)
    if content_type == MESSAGES:
        return Messages(readdressing, connection_id, req_id)
    told = told_as(frames, readdressing, basis)
    return (Events if content_type == EVENTS else Lines)(told)


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0


def compact(value: object) -> bytes:
    """Return JSON without blanks.

    Raises:
        ValueError: A number is infinite, or none.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _prefixed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message
