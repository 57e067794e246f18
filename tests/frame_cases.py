"""What a peer may send after the upgrade, and what RFC 6455 has the other end make of it.

One table for both ends: each makes messages of its own kind for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raw_frames import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, close

MAX_MESSAGE_BYTES = 70_000

Message = Callable[[int, int], bytes]
"""The message of this number, in so many bytes, of which there are at least 32."""


@dataclass(frozen=True)
class Case:
    """What is sent, and what comes of it.

    Attributes:
        name: The behaviour that it shows.
        sent: The frames.
        taken: The numbers of the messages that are handed over.
        pongs: What pings are answered with.
        code: The code of the close frame that answers; None: it goes on.
        is_violation: Whether the code says that the sender broke the rules.
    """

    name: str
    sent: tuple[Frame, ...]
    taken: tuple[int, ...] = ()
    pongs: tuple[bytes, ...] = ()
    code: int | None = None
    is_violation: bool = False

    def encode(self, *, by_client: bool) -> bytes:
        return b"".join(frame.encode(by_client=by_client) for frame in self.sent)


VALID_CODES = (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4001, 4999)
INVALID_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32768, 65535)


def cases(message: Message) -> list[Case]:
    """The table, with an end's messages."""
    one, two = message(1, 40), message(2, 50)
    whole = Frame(BINARY, one)

    def goes_on(name: str, *sent: Frame, taken: tuple[int, ...] = (1,), **more: object) -> Case:
        return Case(name, sent, taken, **more)  # type: ignore[arg-type]

    def fails(
        name: str, *sent: Frame, code: int = 1002, taken: tuple[int, ...] = (), **more: object
    ) -> Case:
        return Case(name, sent, taken, code=code, is_violation=True, **more)  # type: ignore[arg-type]

    def closes(name: str, *sent: Frame, code: int, **more: object) -> Case:
        return Case(name, sent, code=code, **more)  # type: ignore[arg-type]

    def pieces(data: bytes, size: int) -> list[Frame]:
        cut = [data[i : i + size] for i in range(0, len(data), size)]
        kinds = [BINARY, *[CONTINUATION] * len(cut)]
        return [
            Frame(kind, piece, is_final=i == len(cut) - 1)
            for i, (kind, piece) in enumerate(zip(kinds, cut, strict=False))
        ]

    first, last = Frame(BINARY, one[:10], is_final=False), Frame(CONTINUATION, one[10:])
    middle, end = Frame(CONTINUATION, one[10:20], is_final=False), Frame(CONTINUATION, one[20:])

    return [
        # --- sizes
        *(
            goes_on(f"a message of {size} bytes", Frame(BINARY, message(1, size)))
            for size in (32, 125, 126, 127, 128, 65535, 65536, 65537, MAX_MESSAGE_BYTES)
        ),
        goes_on("messages back to back", whole, Frame(BINARY, two), taken=(1, 2)),
        fails(
            "a message over the limit",
            Frame(BINARY, message(1, MAX_MESSAGE_BYTES + 1)),
            code=1009,
        ),
        fails(
            "a message over the limit, of which nothing has come yet",
            Frame(BINARY, announced=MAX_MESSAGE_BYTES + 1),
            code=1009,
        ),
        fails("a length of 2**62", Frame(BINARY, announced=1 << 62), code=1009),
        fails(
            "fragments that are together over the limit",
            Frame(BINARY, bytes(40_000), is_final=False),
            Frame(CONTINUATION, bytes(40_000)),
            code=1009,
        ),
        fails(
            "a message over the limit after a good one",
            whole,
            Frame(BINARY, bytes(MAX_MESSAGE_BYTES + 1)),
            code=1009,
            taken=(1,),
        ),
        *(
            fails(
                f"a length of {size} in {width} bytes",
                Frame(BINARY, message(1, size), length_bytes=width),
            )
            for size, width in ((40, 2), (125, 2), (40, 8), (65535, 8))
        ),
        # --- opcodes and reserved bits
        *(
            fails(f"the opcode {kind}", Frame(kind, b"x"))
            for kind in (*range(3, 8), *range(11, 16))
        ),
        *(
            fails(f"the opcode {kind} after a message", whole, Frame(kind), taken=(1,))
            for kind in (3, 11)
        ),
        *(
            fails(f"the reserved bits {bits:03b} of a {name}", Frame(kind, one, reserved=bits))
            for bits in (0b100, 0b010, 0b001, 0b111)
            for name, kind in (("message", BINARY), ("ping", PING), ("pong", PONG))
        ),
        fails(
            "the reserved bit of a later fragment",
            first,
            Frame(CONTINUATION, one[10:], reserved=0b100),
        ),
        fails("the reserved bit of a close frame", close(1000, reserved=0b100)),
        fails("a reserved bit after a message", whole, Frame(BINARY, two, reserved=4), taken=(1,)),
        fails("a text message", Frame(TEXT, b"hello"), code=1003),
        fails("a text message after a good one", whole, Frame(TEXT, b"a"), code=1003, taken=(1,)),
        # --- masking
        *(
            fails(
                f"a {name} that a server masked, or a client did not",
                Frame(kind, one, is_mismasked=True),
            )
            for name, kind in (("message", BINARY), ("ping", PING))
        ),
        # --- fragments
        goes_on("a message in two fragments", first, last),
        goes_on("a message in fragments of one byte", *pieces(one, 1)),
        goes_on("large fragments", *pieces(message(1, MAX_MESSAGE_BYTES), 9_999)),
        goes_on("empty first fragment", Frame(BINARY, is_final=False), Frame(CONTINUATION, one)),
        goes_on("empty fragments amid", first, *[Frame(CONTINUATION, is_final=False)] * 3, last),
        goes_on("an empty last fragment", *pieces(one, 7)[:-1], *_emptied(pieces(one, 7)[-1])),
        goes_on("fragmented messages in a row", first, last, *pieces(two, 9), taken=(1, 2)),
        goes_on(
            "control frames between fragments",
            first,
            Frame(PING, b"one"),
            Frame(PONG, b"of no ping"),
            middle,
            Frame(PING, b"two"),
            end,
            pongs=(b"one", b"two"),
        ),
        fails("a fragment of nothing", Frame(CONTINUATION, one)),
        fails("a first fragment of nothing", Frame(CONTINUATION, one, is_final=False)),
        fails("a fragment after the last", first, last, Frame(CONTINUATION, b"x"), taken=(1,)),
        fails("a message amid fragments", first, whole),
        fails("a fragmented message amid fragments", first, first),
        fails(
            "a message after an empty fragment",
            Frame(BINARY, is_final=False),
            whole,
        ),
        *(
            fails(f"a fragment of a {name}", Frame(kind, b"x", is_final=False))
            for name, kind in (("ping", PING), ("pong", PONG))
        ),
        fails("a fragment of a close frame", close(1000, is_final=False)),
        # --- pings and pongs
        goes_on("an empty ping", Frame(PING), taken=(), pongs=(b"",)),
        goes_on("a ping of 125 bytes", Frame(PING, b"p" * 125), taken=(), pongs=(b"p" * 125,)),
        goes_on(
            "pings in a row",
            *(Frame(PING, str(i).encode()) for i in range(10)),
            taken=(),
            pongs=tuple(str(i).encode() for i in range(10)),
        ),
        goes_on("pongs of no pings", Frame(PONG), Frame(PONG, b"1"), Frame(PONG, b"\xff"), whole),
        fails("a ping of 126 bytes", Frame(PING, b"p" * 126)),
        fails("a pong of 126 bytes", Frame(PONG, b"p" * 126)),
        fails("a ping whose length has two bytes", Frame(PING, b"p", length_bytes=2)),
        # --- closing
        *(closes(f"the close code {code}", close(code, b"why"), code=code) for code in VALID_CODES),
        *(fails(f"the close code {code}", close(code, b"why")) for code in INVALID_CODES),
        *(fails(f"the bare close code {code}", close(code)) for code in INVALID_CODES),
        closes("a close frame without a code", close(), code=1000),
        fails("a close frame of one byte", Frame(8, b"\x03")),
        closes("a reason of 123 bytes", close(1000, b"r" * 123), code=1000),
        closes("a reason of other letters", close(1000, "ß€😀".encode()), code=1000),
        fails("a reason of 124 bytes", close(1000, b"r" * 124)),
        *(
            fails(f"the reason {reason!r}", close(1000, reason), code=1007)
            for reason in (b"\xff", b"\xed\xa0\x80", b"cut \xe2\x82", b"\xc0\x80")
        ),
        closes("two close frames", close(1000), close(1000), code=1000),
        closes("another close frame", close(4001, b"first"), close(1002, b"then"), code=4001),
        closes("a message after a close frame", close(1001), whole, code=1001),
        closes("text after a close frame", close(1001), Frame(TEXT, b"x"), code=1001),
        closes("nonsense after a close frame", close(4001), Frame(3, b"\xff" * 99), code=4001),
        closes("a broken close frame after one", close(1000), close(1006), code=1000),
        closes("a ping after a close frame", close(1000), Frame(PING, b"late"), code=1000),
        closes("much after a close frame", close(1000), *[whole] * 200, code=1000),
        fails("nonsense after an invalid close frame", close(1006, b"why"), Frame(3, b"x")),
        closes("a close frame after a message", whole, close(1000), code=1000, taken=(1,)),
        closes("a close frame amid fragments", first, close(1000), last, code=1000),
        closes("a close frame after a ping", Frame(PING, b"p"), close(), code=1000, pongs=(b"p",)),
        fails("a message after a broken close frame", Frame(8, b"\x03"), whole),
        fails("a message after a bad reason", close(1000, b"\xff"), whole, code=1007),
        fails("a close frame after nonsense", Frame(3), close(1000)),
    ]


def _emptied(frame: Frame) -> tuple[Frame, Frame]:
    """A last fragment, and an empty one as the last in its place."""
    return Frame(frame.opcode, frame.payload, is_final=False), Frame(CONTINUATION)
