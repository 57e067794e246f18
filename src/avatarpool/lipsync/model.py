"""The default driver: a small trained network that knows fifteen visemes."""

from __future__ import annotations

from collections import deque
from functools import cache

import numpy as np
import numpy.typing as npt

from avatarpool.lipsync.face import Face, Mouth, Pace, ease, ramp
from avatarpool.lipsync.features import (
    HEAD_START_MS,
    LATE_BLOCKS,
    LEVEL_UNIT_DB,
    LEVEL_ZERO_DB,
    MOST_BLOCKS,
    ROWS_PER_BLOCK,
    MelBank,
    Normaliser,
    Rows,
)
from avatarpool.lipsync.network import Seen, load_network
from avatarpool.lipsync.visemes import MOUTHS, VISEMES
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

_MOUTHS = np.array(MOUTHS, np.float32)
_PP = VISEMES.index("PP")
# The lips meet as the network's belief in a closure goes from the first to the
# second; `make lipsync-eval` shows how many it finds, and how many it makes up.
_CLOSING, _CLOSED = 0.15, 0.45
# The jaw gives way from less of a belief on: of a voice that it knows badly the network is
# hardly ever sure, and a jaw that dips for a t costs less than one that hangs open in a p.
_YIELDING, _YIELDED = 0.02, 0.25
# What the visemes say of the jaw counts a little, too: it errs where the network's does not.
_VISEMES_SHARE = 0.15
# The network is never quite sure that a jaw is shut.
_SHUT_JAW = 0.1
# In laughter, music and breath the mouth stays calm: it is as free as the log odds of
# speech are between the first and the second. They follow those of single keyframes, in
# favour of speech from the start, and sooner up than down: a mouth that is shut in speech
# is worse than one that opens in laughter.
_CALM, _FREE = -0.5, 1.5
_FIRST_ODDS, _LEAST_ODDS, _MOST_ODDS = 2.0, -2.0, 6.0
_RISE, _FALL = 0.2, 0.12  # share of the way in a keyframe with a jaw this open, or more:
_TELLING_JAW = 0.2
_PACE = Pace(  # in a keyframe; the network knows how a jaw moves
    opening=1.0, closing=1.0, pressing=1.0, parting=0.8, shaping=0.75
)
_FULL_SCALE = np.float32(1 / 32768)


class ModelDriver:
    """Animates speech as a network trained on labelled speech sees it; a `Driver`.

    A keyframe is given as soon as 107.5 ms of audio beyond its own 40 ms have
    come, or the end. The same audio, rate and seed give the same keyframes,
    however the audio is cut.

    Args:
        sample_rate: Samples per second, a multiple of 50.
        seed: Decides blinks and head motion, and nothing of the mouth.

    Raises:
        ValueError: The sample rate is no multiple of 50.
    """

    def __init__(self, sample_rate: int, seed: int = 0) -> None:
        if sample_rate <= 0 or sample_rate % (2 * FRAMES_PER_SECOND):
            raise ValueError(f"sample rate {sample_rate} is no multiple of {2 * FRAMES_PER_SECOND}")
        bank = _bank(sample_rate)
        network = load_network()
        ahead = sample_rate * HEAD_START_MS // 1000 + bank.lead_samples
        self._bank = bank
        self._normaliser = Normaliser(network.prior, bank.heard)
        self._network = network
        self._memory = network.new_memory()
        self._mouth = Mouth()
        self._odds = _FIRST_ODDS
        self._face = Face(seed)
        self._pending = np.zeros(ahead, np.float32)
        self._samples = 0
        self._given = -LATE_BLOCKS  # keyframes; those before the first are not shown
        self._loudness: deque[float] = deque(maxlen=LATE_BLOCKS)

    def feed(self, pcm: bytes) -> list[Keyframe]:
        """Take whole samples; return the keyframes that have been heard out."""
        self._samples += len(pcm) // 2
        return self._hear(np.frombuffer(pcm, "<i2").astype(np.float32) * _FULL_SCALE)

    def finish(self) -> list[Keyframe]:
        """Return the last keyframes, as if silence followed."""
        due = -(-self._samples // self._bank.block_samples) - max(0, self._given)
        silence = (due + LATE_BLOCKS) * self._bank.block_samples
        return self._hear(np.zeros(silence, np.float32))[:due]

    def _hear(self, samples: npt.NDArray[np.float32]) -> list[Keyframe]:
        audio = np.concatenate((self._pending, samples))
        size, span = self._bank.block_samples, self._bank.span_samples
        blocks = max(0, (len(audio) - span) // size + 1)
        keyframes = []
        for first in range(0, blocks, MOST_BLOCKS):
            last = min(first + MOST_BLOCKS, blocks) - 1
            keyframes += self._animate(audio[first * size : last * size + span])
        self._pending = audio[blocks * size :].copy()
        return keyframes

    def _animate(self, audio: npt.NDArray[np.float32]) -> list[Keyframe]:
        features = self._normaliser.normalise(self._bank.rows(audio))
        seen = self._network.see(features, self._memory)
        keyframes = []
        for loudness, target, jaw, odds in zip(
            _loudness(features),
            _targets(seen),
            seen.jaw.tolist(),
            seen.speech.tolist(),
            strict=True,
        ):
            self._loudness.append(loudness)
            self._given += 1
            if self._given > 0:
                self._odds = _heeded(self._odds, odds, jaw)
                calmed = _calmed(target, ramp(self._odds, _CALM, _FREE))
                self._mouth = ease(self._mouth, calmed, _PACE)
                keyframes.append(self._face.pose(self._mouth, self._loudness[0]))
        return keyframes


def _targets(seen: Seen) -> list[Mouth]:
    blended = (seen.visemes[:, None] @ _MOUTHS)[:, 0].tolist()
    closures = seen.visemes[:, _PP].tolist()
    return [
        mouth._replace(
            jaw=ramp(jaw + _VISEMES_SHARE * (mouth.jaw - jaw), _SHUT_JAW, 1.0)
            * (1.0 - ramp(closure, _YIELDING, _YIELDED)),
            press=max(mouth.press, ramp(closure, _CLOSING, _CLOSED)),
        )
        for mouth, jaw, closure in zip(
            map(Mouth._make, blended), seen.jaw.tolist(), closures, strict=True
        )
    ]


def _heeded(before: float, odds: float, jaw: float) -> float:
    """Return the log odds of speech after one more keyframe."""
    bounded = min(_MOST_ODDS, max(_LEAST_ODDS, odds))
    share = _RISE if bounded > before else _FALL
    return before + share * ramp(jaw, 0.0, _TELLING_JAW) * (bounded - before)


def _calmed(mouth: Mouth, freedom: float) -> Mouth:
    return mouth if freedom == 1.0 else Mouth._make(freedom * value for value in mouth)


def _loudness(features: Rows) -> list[float]:
    """Return 0 at -50 dB relative to full scale, 1 at -20 dB: what the head nods with."""
    sums = np.add.reduce(features[:, -1].reshape(-1, ROWS_PER_BLOCK), axis=1)
    levels = (sums / np.float32(ROWS_PER_BLOCK)).tolist()
    return [ramp(LEVEL_ZERO_DB + LEVEL_UNIT_DB * level, -50.0, -20.0) for level in levels]


@cache
def _bank(sample_rate: int) -> MelBank:
    return MelBank(sample_rate)
