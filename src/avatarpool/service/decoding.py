"""From a request's bytes to PCM, in bounded steps."""

from __future__ import annotations

from typing import Protocol

from avatarpool.endpoint import refusals

_SAMPLE_BYTES = 2


class AudioRefused(Exception):
    """Audio that is not what the session said it would be."""


class Decoder(Protocol):
    """Turns one request's audio into mono s16le.

    `pull` does a bounded amount of work however much was pushed: a few bytes of
    a compressed format may stand for minutes.

    Attributes:
        sample_rate: Of the PCM.
        decoded_samples: The work so far: all samples that were decoded, those
            that the format says to drop included.
    """

    sample_rate: int
    decoded_samples: int

    def push(self, data: bytes) -> None:
        """Take more audio.

        Raises:
            AudioRefused: It cannot be what it should be.
        """
        ...

    def pull(self, max_samples: int) -> bytes:
        """Decode about ``max_samples`` samples, or fewer if that is all there is.

        What it returns may be less, or nothing although more waits: not every
        sample is kept.

        Raises:
            AudioRefused: It was not what it should be.
        """
        ...

    @property
    def is_drained(self) -> bool:
        """Whether nothing is left to pull before more is pushed."""
        ...

    def finish(self) -> None:
        """Say that all audio was pushed; `pull` then gives the rest.

        Raises:
            AudioRefused: The audio breaks off in the middle of something.
        """
        ...


class PcmDecoder:
    """PCM is what is wanted already; only half a sample may have to wait.

    Args:
        sample_rate: Samples per second.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.decoded_samples = 0
        self._pending = b""

    def push(self, data: bytes) -> None:
        """Take more audio."""
        self._pending += data

    def pull(self, max_samples: int) -> bytes:
        """Return whole samples."""
        size = min(len(self._pending), max_samples * _SAMPLE_BYTES) & ~1
        pcm, self._pending = self._pending[:size], self._pending[size:]
        self.decoded_samples += size // _SAMPLE_BYTES
        return pcm

    @property
    def is_drained(self) -> bool:
        """Whether less than a sample is left."""
        return len(self._pending) < _SAMPLE_BYTES

    def finish(self) -> None:
        """Check that no half sample is left over."""
        if len(self._pending) % _SAMPLE_BYTES:
            raise AudioRefused(refusals.ODD_AUDIO)
