"""A driver without training: loudness and two spectral balances move the mouth."""

from __future__ import annotations

import math
import sys
from array import array

from avatarpool.lipsync.face import Face, Mouth, Pace, ease, ramp
from avatarpool.lipsync.speech import SILENCE, Ear, Sound
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND, Keyframe

# Below the first the mouth is shut, whatever the loudest sound so far was;
# from there to the second it gains its freedom.
_GATE_SHUT_DB = -60.0
_GATE_OPEN_DB = -45.0
# Loudness is relative to the loudest of the last seconds, so that quiet
# recordings move the mouth as well.
_RANGE_DB = 30.0
_PEAK_FLOOR_DB = -35.0
_PEAK_DECAY_DB_PER_SECOND = 2.0

_BLOCKS_PER_FRAME = 2
_BLOCKS_PER_SECOND = FRAMES_PER_SECOND * _BLOCKS_PER_FRAME
_PACE = Pace(  # in a block of 20 ms
    opening=0.55, closing=0.40, pressing=0.70, parting=0.55, shaping=0.40
)
# A voice that falls by this much within a block has met closed lips.
_CLOSURE_DB = 14.0


class DspDriver:
    """Animates speech by arithmetic alone; a `Driver`.

    The same audio, rate and seed give the same keyframes, however the audio is
    cut. Each keyframe is held back until a sample beyond its 40 ms, or the
    end, is known.

    Args:
        sample_rate: Samples per second, a multiple of 50.
        seed: Decides blinks and head motion, and nothing of the mouth.

    Raises:
        ValueError: The sample rate is no multiple of 50.
    """

    def __init__(self, sample_rate: int, seed: int = 0) -> None:
        if sample_rate <= 0 or sample_rate % _BLOCKS_PER_SECOND:
            raise ValueError(f"sample rate {sample_rate} is no multiple of {_BLOCKS_PER_SECOND}")
        self._block_samples = sample_rate // _BLOCKS_PER_SECOND
        self._frame_samples = self._block_samples * _BLOCKS_PER_FRAME
        self._pending: array[int] = array("h")
        self._ear = Ear(sample_rate)
        self._lips = Lips()
        self._face = Face(seed)

    def feed(self, pcm: bytes) -> list[Keyframe]:
        """Take whole samples; return the keyframes that are complete."""
        samples = array("h")
        samples.frombytes(pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        self._pending.extend(samples)
        frames = (len(self._pending) - 1) // self._frame_samples
        if frames <= 0:
            return []
        size = self._frame_samples
        keyframes = [
            self._keyframe(self._pending[i * size : (i + 1) * size]) for i in range(frames)
        ]
        del self._pending[: frames * size]
        return keyframes

    def finish(self) -> list[Keyframe]:
        """Return the last keyframe, if there was any audio."""
        last, self._pending = self._pending, array("h")
        return [self._keyframe(last)] if last else []

    def _keyframe(self, samples: array[int]) -> Keyframe:
        size = self._block_samples
        mouths = []
        for start in range(0, self._frame_samples, size):
            block = samples[start : start + size]
            # Half a block at the very end still counts as that sound.
            sound = self._ear.listen(block) if len(block) > size // 2 else SILENCE
            mouths.append(self._lips.move(sound))
        return self._face.pose(_within(mouths), self._lips.loudness)


class Lips:
    """Follows the sounds, block by block, as lips do: fast to close, slow to let go."""

    def __init__(self) -> None:
        self.loudness = 0.0  # of the newest block, 0 to 1
        self._peak_db = _PEAK_FLOOR_DB
        self._level_db = SILENCE.level_db
        self._mouth = Mouth()

    def move(self, sound: Sound) -> Mouth:
        """Return the mouth after one more block of 20 ms."""
        decayed = self._peak_db - _PEAK_DECAY_DB_PER_SECOND / _BLOCKS_PER_SECOND
        self._peak_db = max(sound.level_db, decayed, _PEAK_FLOOR_DB)
        gate = ramp(sound.level_db, _GATE_SHUT_DB, _GATE_OPEN_DB)
        loudness = gate * ramp(sound.level_db, self._peak_db - _RANGE_DB, self._peak_db)
        fell = self._level_db - sound.level_db
        closed = self.loudness > 0.3 and fell > _CLOSURE_DB
        self.loudness, self._level_db = loudness, sound.level_db
        self._mouth = ease(self._mouth, _target(sound, loudness, closed=closed), _PACE)
        return self._mouth


def _target(sound: Sound, loudness: float, *, closed: bool) -> Mouth:
    """Where the lips would go if this sound lasted."""
    if closed:
        return Mouth(press=1.0)
    hissing = _sigmoid(12.0 * (sound.hiss - 0.55))
    open_vowel = _sigmoid(7.0 * (sound.openness - 0.5))
    voiced = loudness * (1.0 - hissing)
    return Mouth(
        jaw=loudness**1.5 * (0.25 + 0.75 * open_vowel) * (1.0 - 0.75 * hissing),
        spread=voiced * math.tanh(8.0 * (sound.hiss - 0.12)) + 0.4 * loudness * hissing,
        press=0.25 * (1.0 - min(1.0, 4.0 * loudness)),
        roll=0.6 * hissing * loudness * (1.0 - loudness),
        funnel=voiced * (1.0 - open_vowel) * (1.0 - ramp(sound.hiss, 0.0, 0.15)),
        raised=0.1 * loudness * open_vowel + 0.1 * loudness * hissing,
    )


def _within(mouths: list[Mouth]) -> Mouth:
    """One frame's mouth: the mean of its blocks, but the firmest closure."""
    n = len(mouths)
    return Mouth(
        jaw=sum(m.jaw for m in mouths) / n,
        spread=sum(m.spread for m in mouths) / n,
        press=max(m.press for m in mouths),
        roll=sum(m.roll for m in mouths) / n,
        funnel=sum(m.funnel for m in mouths) / n,
        raised=sum(m.raised for m in mouths) / n,
    )


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
