"""Damage: bytes that are almost what they were."""

from __future__ import annotations

from random import Random

# Where sizes, counts and signs turn over.
_EDGES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def damaged(data: bytes, others: list[bytes], random: Random, *, most: int = 6) -> bytes:
    """Return ``data`` with up to ``most`` faults, some of them pieces of ``others``."""
    out = bytearray(data)
    for _ in range(random.randint(1, most)):
        at = random.randint(0, len(out))
        size = min(random.choice((1, 2, 4, 8, 40, 400)), len(out) - at)
        match random.randrange(8):
            case 0 if size:
                out[at] ^= 1 << random.randrange(8)
            case 1:
                out[at : at + size] = random.randbytes(size)
            case 2:
                width = random.choice((1, 2, 4, 8))
                edge = random.choice(_EDGES) & (1 << 8 * width) - 1
                out[at : at + width] = edge.to_bytes(width, random.choice(("little", "big")))
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = out[at : at + size] * random.choice((1, 2, 50))
            case 5:
                other = random.choice(others)
                begin = random.randint(0, len(other))
                out[at : at + size] = other[begin : begin + size]
            case 6:
                out[at:at] = random.randbytes(size)
            case _ if random.random() < 0.2:
                del out[at:]
    return bytes(out)


def cut(data: bytes, random: Random, *, most: int = 4) -> list[bytes]:
    """Return ``data`` in up to ``most`` pieces."""
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randrange(most)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
