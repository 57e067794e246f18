"""How long an Opus packet plays: its first two bytes say so (RFC 6716, 3)."""

from __future__ import annotations

OPUS_RATE = 48000
"""Samples per second that Opus decodes to, whatever went in."""

MAX_PACKET_SAMPLES = OPUS_RATE * 120 // 1000

# Samples of one frame, by the configuration in a packet's first byte.
_SILK = (480, 960, 1920, 2880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)
_FRAME_SAMPLES = _SILK * 3 + _HYBRID * 2 + _CELT * 4


def packet_samples(packet: bytes) -> int:
    """Return how many samples of each channel a packet says that it decodes to.

    Nothing is checked: no packet may have more than `MAX_PACKET_SAMPLES`, and
    one of none is no packet.
    """
    if not packet:
        return 0
    match packet[0] & 3:
        case 0:
            frames = 1
        case 3:
            frames = packet[1] & 63 if len(packet) > 1 else 0
        case _:
            frames = 2
    return frames * _FRAME_SAMPLES[packet[0] >> 3]
