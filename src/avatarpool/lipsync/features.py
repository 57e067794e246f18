"""What the trained driver hears: a log-mel spectrogram, from audio of any rate.

A row every 10 ms, four rows a block of 40 ms, the length of a keyframe. Blocks
are worked out together, as many as there are, since each call of numpy costs
as much as its arithmetic. Every matrix product is stacked: one of the same
shape for each block, so its rows are the same to the last bit however the audio
was cut.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

BANDS = 26
ROWS_PER_BLOCK = 4
ROW_MS = 10
BLOCK_MS = ROWS_PER_BLOCK * ROW_MS
FEATURES = BANDS + 1  # and the level

# At once: enough for numpy's overhead to vanish, few enough for the cache.
MOST_BLOCKS = 16

_WINDOW_MS = 25
# A row's window is centred on its 10 ms.
LEAD_MS = (_WINDOW_MS - ROW_MS) / 2

# What a keyframe shows is decided when three more blocks are heard. Blocks begin
# 20 ms before keyframes: with the window's reach that makes 107.5 ms of lookahead.
LATE_BLOCKS = 3
HEAD_START_MS = 20

_LOWEST_HERTZ = 60.0
_HIGHEST_HERTZ = 7600.0
# -90 dB relative to full scale, per band: below what speech has, above
# what rounding to 16 bits leaves.
_FLOOR = 1e-9

# Bands are relative to their own mean over the voice so far, as microphones and
# rooms colour a whole recording. The mean starts as that of the training data
# with the weight of a second, and forgets with a time constant of three.
_PRIOR_ROWS = 100.0
_KEEP_PER_ROW = 1.0 - 1.0 / 300.0
# Rows below -55 dB relative to full scale say nothing of the voice.
_QUIET = 10.0**-5.5

# The level among the features: where it is 0, and how much is 1, in dB relative
# to full scale.
LEVEL_ZERO_DB, LEVEL_UNIT_DB = -46.0, 26.0


class MelBank:
    """Log power in mel bands, at one sample rate.

    Bands beyond half the sample rate are as silent as the rest can be.

    Args:
        sample_rate: Samples per second, a multiple of 50.

    Attributes:
        block_samples: Samples from one block to the next.
        span_samples: Samples that a block of rows is computed from, of which
            the first is `lead_samples` before the block's own time.
        lead_samples: See above.
        heard: Which bands the sample rate can carry.
    """

    def __init__(self, sample_rate: int) -> None:
        window = round(sample_rate * _WINDOW_MS / 1000)
        size = 1 << (window - 1).bit_length()
        self.block_samples = sample_rate * BLOCK_MS // 1000
        self.lead_samples = round(sample_rate * LEAD_MS / 1000)
        starts = [round(sample_rate * ROW_MS * row / 1000) for row in range(ROWS_PER_BLOCK)]
        self.span_samples = starts[-1] + window
        self._size = size
        blocks = np.arange(MOST_BLOCKS) * self.block_samples
        self._starts = np.add.outer(blocks, starts).ravel()
        self._window = np.hanning(window).astype(np.float32)
        # The power of a tone is the same at every rate.
        scale = 2.0 / (size * float((self._window**2).sum()))
        bank = _triangles(np.fft.rfftfreq(size, 1.0 / sample_rate)) * scale
        self._bins = int(np.flatnonzero(bank.any(axis=0))[-1]) + 1
        self._bank = np.ascontiguousarray(bank[:, : self._bins].T, dtype=np.float32)
        edges = _edges()
        self.heard = edges[2:] <= sample_rate / 2

    def rows(self, audio: npt.NDArray[np.float32]) -> Rows:
        """Return the (4 * blocks, `BANDS`) log powers of 1 to `MOST_BLOCKS` blocks.

        Args:
            audio: Contiguous samples, full scale 1: `span_samples`, and
                `block_samples` for each further block.
        """
        window = len(self._window)
        blocks = 1 + (len(audio) - self.span_samples) // self.block_samples
        starts = self._starts[: blocks * ROWS_PER_BLOCK]
        step = audio.itemsize
        everywhere = np.ndarray(
            (len(audio) - window + 1, window), audio.dtype, audio, 0, (step, step)
        )
        frames = everywhere[starts]
        frames -= np.add.reduce(frames, axis=1, keepdims=True) / np.float32(window)
        frames *= self._window
        spectrum = np.fft.rfft(frames, self._size)[:, : self._bins]
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
        powers = power.reshape(blocks, ROWS_PER_BLOCK, self._bins) @ self._bank
        logs: Rows = np.log(powers.reshape(len(starts), BANDS) + np.float32(_FLOOR))
        return logs


class Normaliser:
    """Makes log powers relative to the voice so far.

    Args:
        prior: Mean log power of each band in the training data.
        heard: Bands that carry anything; the others become 0.
    """

    def __init__(self, prior: Rows, heard: npt.NDArray[np.bool_]) -> None:
        self._sum = prior.astype(np.float64) * _PRIOR_ROWS
        self._weight = _PRIOR_ROWS
        self._heard = heard.astype(np.float32)

    def normalise(self, logs: Rows) -> Rows:
        """Return (4 * blocks, `FEATURES`) of as many log powers: the bands, and last the level."""
        power = np.add.reduce(np.exp(logs), axis=1)
        loud = power > _QUIET
        by_block = (-1, ROWS_PER_BLOCK, BANDS)
        sums = np.add.reduce((logs * loud[:, None]).reshape(by_block), axis=1)
        counts = np.add.reduce(loud.reshape(by_block[:2]), axis=1).tolist()
        means = np.empty((len(counts), 1, BANDS))
        for mean, block_sum, count in zip(means, sums, counts, strict=True):
            if count:
                keep = _KEEP_PER_ROW**count
                self._sum = self._sum * keep + block_sum
                self._weight = self._weight * keep + count
            np.divide(self._sum, self._weight, out=mean[0])
        features = np.empty((len(logs), FEATURES), np.float32)
        features[:, :BANDS] = ((logs.reshape(by_block) - means) * self._heard).reshape(-1, BANDS)
        features[:, BANDS] = (10.0 * np.log10(power) - LEVEL_ZERO_DB) / LEVEL_UNIT_DB
        return features


def _edges() -> npt.NDArray[np.float64]:
    """Where each triangle begins, peaks and ends, two further than the bands."""
    low, high = (2595.0 * np.log10(1.0 + f / 700.0) for f in (_LOWEST_HERTZ, _HIGHEST_HERTZ))
    mels = np.linspace(low, high, BANDS + 2)
    hertz: npt.NDArray[np.float64] = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    return hertz


def _triangles(hertz: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    edges = _edges()
    below, peak, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (hertz - below) / (peak - below)
    falling = (above - hertz) / (above - peak)
    triangles: npt.NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return triangles
