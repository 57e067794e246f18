"""What a message is, and how much of it is no audio, by its raw bytes.

protobuf makes objects of all that it knows before anybody has looked: a map of 4 MB becomes
100 times that, and stops the event loop for a second.
"""

from __future__ import annotations

from typing import NamedTuple

from avatarpool.protocol.refusals import protocol_violation

# Tags as protobuf writes them: a field's number and its wire type (here 0, a number, or 2,
# bytes behind their length).
_TYPE = 0x08
_AUDIO_INPUT = 0x22  # of a message
_AUDIO = 0x1A  # of an AudioInput

_LONGEST_VARINT = 10  # bytes

# An AudioInput with all that it may have takes eight. Each takes some 2 µs to look at.
_MAX_FIELDS = 64


class Outline(NamedTuple):
    """What is known of a message.

    Attributes:
        kind: The last of its types that was come upon; 0: none.
        overhead: Its bytes that are not audio, as far as they were counted; over the limit
            if it has more fields than any message needs.
    """

    kind: int
    overhead: int


def outline(data: bytes, limit: int) -> Outline:
    """Look at a message's fields, and no further once more than ``limit`` bytes are no audio.

    Raises:
        AvatarSDKError: It is no protobuf message (``protocolError``); or it has groups,
            which the service's messages have not.
    """
    try:
        kind, overhead, fields = _outline(memoryview(data), limit, _MAX_FIELDS, _AUDIO_INPUT)
    except (IndexError, ValueError):
        message = f"message of {len(data)} bytes cannot be decoded"
        raise protocol_violation(message) from None
    return Outline(kind, overhead if fields <= _MAX_FIELDS else max(overhead, limit + 1))


def _outline(data: memoryview, limit: int, max_fields: int, opened: int) -> tuple[int, int, int]:
    """Look at the fields of a message, or of the AudioInput in it.

    Args:
        data: The fields.
        limit: Bytes that may be no audio.
        max_fields: Fields that are looked at.
        opened: The tag of the one whose contents are not counted as they are: an
            AudioInput is looked into, and audio is free.
    """
    kind = overhead = fields = at = 0
    while at < len(data):
        fields += 1
        tag, content = _varint(data, at)
        begin, end = _extent(data, content, tag & 0x07)
        overhead += end - at
        if tag == opened == _AUDIO_INPUT:
            overhead -= end - begin
            left = limit - overhead, max_fields - fields
            _, inner, more = _outline(data[begin:end], *left, _AUDIO)
            overhead, fields = overhead + inner, fields + more
        elif tag == opened:
            overhead -= end - begin
        elif tag == _TYPE:
            kind, _ = _varint(data, begin)
        if overhead > limit or fields > max_fields:
            break
        at = end
    return kind, overhead, fields


def _extent(data: memoryview, at: int, wire_type: int) -> tuple[int, int]:
    """Return where a field's content begins and ends."""
    match wire_type:
        case 0:
            begin, end = at, _varint(data, at)[1]
        case 1:
            begin, end = at, at + 8
        case 2:
            size, begin = _varint(data, at)
            end = begin + size
        case 5:
            begin, end = at, at + 4
        case _:
            raise ValueError(wire_type)
    if end > len(data):
        raise IndexError
    return begin, end


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a number; return it and where the next thing begins."""
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(value)
