"""Utterances as a network sees them: features in blocks, and targets per keyframe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import augment
import numpy as np
import numpy.typing as npt
from corpus import Utterance
from labels import ROW_SAMPLES, SAMPLE_RATE, Labels

from avatarpool.lipsync.features import (
    BANDS,
    FEATURES,
    HEAD_START_MS,
    LATE_BLOCKS,
    MOST_BLOCKS,
    ROWS_PER_BLOCK,
    MelBank,
    Normaliser,
)
from avatarpool.lipsync.visemes import VISEMES

_BANK = MelBank(SAMPLE_RATE)
_ALL_BANDS = np.ones(BANDS, bool)
_SMOOTHING_ROWS = 3.0
_PP = VISEMES.index("PP")


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance.

    Attributes:
        blocks: (keyframes + `LATE_BLOCKS`, 4, `FEATURES`).
        shares: (keyframes, 15): share of each viseme in its 40 ms.
        jaw: (keyframes,): mean openness, 0 to 1.
    """

    blocks: npt.NDArray[np.float16]
    shares: npt.NDArray[np.float32]
    jaw: npt.NDArray[np.float32]


def logs_of(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (blocks * 4, bands) log powers, as the driver works them out."""
    size, span = _BANK.block_samples, _BANK.span_samples
    blocks = -(-len(wave) // size) + LATE_BLOCKS
    ahead = SAMPLE_RATE * HEAD_START_MS // 1000 + _BANK.lead_samples
    padded = np.zeros(blocks * size + span, np.float32)
    padded[ahead : ahead + len(wave)] = wave
    lasts = (min(first + MOST_BLOCKS, blocks) - 1 for first in range(0, blocks, MOST_BLOCKS))
    return np.concatenate(
        [
            _BANK.rows(padded[last // MOST_BLOCKS * MOST_BLOCKS * size : last * size + span])
            for last in lasts
        ]
    )


def features_of(
    wave: npt.NDArray[np.float32], prior: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return (blocks * 4, `FEATURES`), as the driver works them out."""
    return Normaliser(prior, _ALL_BANDS).normalise(logs_of(wave))


def targets(labels: Labels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each keyframe's shares of visemes, and its openness."""
    short = -len(labels.visemes) % ROWS_PER_BLOCK
    visemes = np.pad(labels.visemes, (0, short))
    hot = np.eye(len(VISEMES), dtype=np.float32)[visemes]
    shares = hot.reshape(-1, ROWS_PER_BLOCK, len(VISEMES)).mean(axis=1)
    reach = np.arange(-12, 13)
    kernel = np.exp(-0.5 * (reach / _SMOOTHING_ROWS) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(labels.openness, (12, 12 + short))
    smooth = np.convolve(padded, kernel, "valid")
    return shares, smooth.reshape(-1, ROWS_PER_BLOCK).mean(axis=1).astype(np.float32)


def example(
    wave: npt.NDArray[np.float32], labels: Labels, prior: npt.NDArray[np.float32]
) -> Example:
    """Make the example of a wave as it is."""
    return Example(_normalised(logs_of(wave), prior), *targets(labels))


def augmented(
    utterances: list[Utterance], seed: int, prior: npt.NDArray[np.float32]
) -> Iterator[Example]:
    """Yield each utterance once as heard in some place, and now and then no speech."""
    source = np.random.default_rng(seed)
    for utterance in utterances:
        wave = utterance.pcm.astype(np.float32) / 32768
        others = [utterances[source.integers(len(utterances))].pcm.astype(np.float32) / 32768]
        before, after = (int(source.uniform(0, 0.5) ** 2 * 4 * SAMPLE_RATE) for _ in range(2))
        # Labels move by whole rows, the sound by samples: within half a row.
        rows = round(before / ROW_SAMPLES)
        last_rows = after // ROW_SAMPLES
        quiet = np.pad(wave, (before, last_rows * ROW_SAMPLES))
        heard = augment.record(quiet, source, others)
        if source.random() < 0.5:
            heard[:before] = 0  # a recording's digital start
        labels = Labels(
            np.pad(utterance.labels.visemes, (rows, last_rows)),
            np.pad(utterance.labels.openness, (rows, last_rows)),
        )
        shares, jaw = targets(labels)
        blocks = _normalised(augment.warp(logs_of(heard), source), prior)
        count = min(len(jaw), len(blocks) - LATE_BLOCKS)
        yield Example(blocks[: count + LATE_BLOCKS], shares[:count], jaw[:count])
        if source.random() < 0.06:
            wave = augment.no_speech(source.uniform(1, 4), source)
            empty = np.zeros(len(wave) // ROW_SAMPLES)
            yield example(wave, Labels(empty.astype(np.int8), empty.astype(np.float32)), prior)


def _normalised(
    logs: npt.NDArray[np.float32], prior: npt.NDArray[np.float32]
) -> npt.NDArray[np.float16]:
    features = Normaliser(prior, _ALL_BANDS).normalise(logs)
    return features.reshape(-1, ROWS_PER_BLOCK, FEATURES).astype(np.float16)
