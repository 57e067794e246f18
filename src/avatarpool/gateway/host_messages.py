"""The messages of host mode as the demo server has them. Pure.

Texts are commands. A binary message is a byte for its type, one for flags, and its payload.
Type 5 is ours: what a client gets in place of type 2 that has asked for frames as something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avatarpool.blendshapes import Basis
from avatarpool.fleet import PoolKey
from avatarpool.gateway import records
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.records import BrokenFrame
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.readdressing import Readdressing
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, PCM_SAMPLE_RATES

AUDIO, ANIMATION, METADATA, ERROR, RECORDS = 1, 2, 3, 4, 5
LAST = 1  # of the flags

_MAX_AVATAR_ID = 256
_MAX_TEXT = 64 * 1024


class Misspoken(Exception):
    """A message that means nothing here; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Start:
    """Speeches are of this avatar and rate from now on; an empty avatar: the default one."""

    avatar_id: str
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The speech under way ends now."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of a speech's audio."""

    audio: bytes
    end: bool


def read(message: bytes | str) -> Start | Interrupt | Spoken:
    """Read what a client says.

    Raises:
        Misspoken: It means nothing.
    """
    if isinstance(message, str):
        return _command(message)
    if len(message) < 2 or message[0] != AUDIO or message[1] & ~LAST:
        raise Misspoken("a message is neither audio (type 1, flags 0 or 1) nor a command")
    if len(message) % 2:
        raise Misspoken("audio is no whole number of 16-bit samples")
    return Spoken(message[2:], bool(message[1] & LAST))


def _command(text: str) -> Start | Interrupt:
    try:
        told = json.loads(text) if len(text) <= _MAX_TEXT else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        told = {}
    action = told.get("action")
    if action == "interrupt":
        return Interrupt()
    if action != "start":
        raise Misspoken('a text is neither {"action": "start"} nor {"action": "interrupt"}')
    avatar_id = told.get("avatar_id") or ""
    if not isinstance(avatar_id, str) or len(avatar_id) > _MAX_AVATAR_ID:
        raise Misspoken("avatar_id is no avatar's id")
    if avatar_id and not avatar_id.isprintable():
        raise Misspoken("avatar_id is no avatar's id")
    rate = told.get("sample_rate") or DEFAULT_SAMPLE_RATE
    if isinstance(rate, bool) or rate not in PCM_SAMPLE_RATES:
        raise Misspoken(f"sample_rate is none of {', '.join(map(str, PCM_SAMPLE_RATES))}")
    return Start(avatar_id, int(rate))


def animation(messages: Sequence[bytes], *, last: bool) -> bytes:
    """Return frames' messages as one; none of them, and the last: a speech that was interrupted."""
    parts = [bytes((ANIMATION, LAST if last else 0)), len(messages).to_bytes(4, "big")]
    for message in messages:
        parts += (len(message).to_bytes(4, "big"), message)
    return b"".join(parts)


Written = Callable[[Sequence[AnimationFrame], bool], bytes]
"""Writes frames as one message, and whether it is the last; may raise `BrokenFrame`."""


def told_as(frames: str, basis: Basis | None) -> Callable[[Readdressing], Written]:
    """Return what begins to write a speech's frames.

    Args:
        frames: One of `records.FRAMES`.
        basis: Whose expression coefficients the service's are, if that is known.
    """

    def messages(readdressing: Readdressing) -> Written:
        return lambda each, last: animation(list(map(readdressing.message, each)), last=last)

    def others(readdressing: Readdressing) -> Written:
        told = records.told_as(frames, readdressing, basis)
        flags = {False: bytes((RECORDS, 0)), True: bytes((RECORDS, LAST))}

        def written(each: Sequence[AnimationFrame], last: bool) -> bytes:  # noqa: FBT001
            listed = [record for frame in each for record in told(frame)]
            try:
                return flags[last] + records.compact(listed)
            except ValueError as error:  # values that are infinite, or no numbers
                raise BrokenFrame from error

        return written

    return messages if frames == records.MESSAGE else others


def metadata(key: PoolKey, connection_id: str) -> bytes:
    """Say that audio may come, and of what kind."""
    told = {
        "sample_rate": key.sample_rate,
        "channels": 1,
        "avatar_id": key.avatar_id,
        "connection_id": connection_id,
    }
    return bytes((METADATA, 0)) + json.dumps(told).encode()


def error(failure: Failure) -> bytes:
    """Say what failed."""
    told: dict[str, object] = {"error": failure.message, "code": failure.name}
    if failure.retry_after is not None:
        told["retry_after"] = round(failure.retry_after, 3)
    return bytes((ERROR, LAST)) + json.dumps(told).encode()
