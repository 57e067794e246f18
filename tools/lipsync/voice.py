"""Teach a trained network to tell voices that speak from laughter, music and breath.

    python tools/lipsync/voice.py build/lipsync src/avatarpool/lipsync/visemes.npz

sets the last output of the network in the file, the log odds of speech, by logistic
regression on the states that the network has already. Nothing else changes. The same
versions give the same file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import augment
import corpus
import nospeech
import numpy as np
import numpy.typing as npt
from labels import SAMPLE_RATE

from avatarpool.lipsync.features import LATE_BLOCKS
from avatarpool.lipsync.network import Network
from avatarpool.protocol.keyframes import FRAMES_PER_SECOND
from examples import features_of

States = npt.NDArray[np.float32]

# Sets, and how many sentences of each.
SPEECH = {
    "train-espeak": 200,
    **dict.fromkeys(("train-rms", "train-awb", "train-pico-us", "train-pico-gb"), 70),
    **dict.fromkeys(("train-pico-de", "train-pico-fr"), 30),
    **dict.fromkeys((f"people-{name}" for name in "allison allison-es june carlo ivr".split()), 60),
    **dict.fromkeys((f"people-stamps-{name}" for name in "be bg ca da en es fr ru".split()), 60),
}
NO_SPEECH: tuple[Callable[..., list[nospeech.Wave]], ...] = (
    nospeech.laughter,
    nospeech.music,
    nospeech.breath,
)
# Each recording as it is, and heard elsewhere: there are few laughs and many sentences.
SPEECH_COPIES = 2
COPIES = {nospeech.laughter: 12, nospeech.music: 2, nospeech.breath: 2}
# A mouth that stays shut in speech is worse than one that opens in laughter.
SPEECH_WEIGHT = 2.5
_SHRINK = 3.0
_STEPS = 20
_LONGEST_BEFORE_SECONDS = 10
_LEAST_JAW = 0.1  # where a mouth is shut anyway, nothing is to be told


@dataclass(frozen=True, slots=True)
class Heard:
    """A recording in which something else comes first, and for how many samples."""

    wave: nospeech.Wave
    before: int = 0


def states_of(network: Network, recordings: Iterable[Heard]) -> States:
    """Return the states in which the network would open the mouth, without those before."""
    kept = []
    for heard in recordings:
        features = features_of(heard.wave, network.prior)
        first = LATE_BLOCKS - (-heard.before // (SAMPLE_RATE // FRAMES_PER_SECOND))
        states = network.follow(features, network.new_memory())[first:]
        kept.append(states[network.read(states).jaw > _LEAST_JAW])
    return np.concatenate(kept)


def heard_of(
    waves: list[nospeech.Wave], others: list[nospeech.Wave], copies: int, seed: int
) -> Iterator[Heard]:
    """Yield recordings as they are, and elsewhere, where half of them come after others.

    Who has heard music for a while hears a voice otherwise: bands are relative to what was.
    """
    source = np.random.default_rng(seed)
    yield from map(Heard, waves)
    for wave in waves * copies:
        before = np.zeros(0, np.float32)
        if source.random() < 0.5:
            before = others[source.integers(len(others))]
            before = before[: int(SAMPLE_RATE * source.uniform(1, _LONGEST_BEFORE_SECONDS))]
            before = before * (10 ** source.uniform(-0.5, 0.25) * _rms(wave) / _rms(before))
        both = np.concatenate((before, wave)).astype(np.float32)
        yield Heard(augment.record(both, source, others), len(before))


def _rms(wave: nospeech.Wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave)))) + 1e-9


def fit(speech: list[States], others: list[States]) -> npt.NDArray[np.float64]:
    """Return the weights of the log odds, and last the bias; each list weighs the same."""
    parts = [*speech, *others]
    x = np.concatenate(parts).astype(np.float64)
    x = np.c_[x, np.ones(len(x))]
    sizes = [len(part) for part in parts]
    shares = [SPEECH_WEIGHT / len(speech)] * len(speech) + [1 / len(others)] * len(others)
    weight = np.repeat(np.array(shares) / sizes, sizes)
    weight /= weight.sum()
    is_speech = np.repeat([1.0] * len(speech) + [0.0] * len(others), sizes)

    # Newton's method: it is at the one minimum after a few steps, whatever the machine.
    shrink = np.diag(np.append(np.full(x.shape[1] - 1, 2.0 * _SHRINK / len(x)), 0.0))
    fitted = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-(x @ fitted)))
        slope = x.T @ (weight * (chance - is_speech)) + shrink @ fitted
        bend = x.T @ (x * (weight * chance * (1.0 - chance))[:, None]) + shrink
        step = np.linalg.solve(bend, slope)
        fitted -= step
    if np.abs(step).max() > 1e-6:
        raise ArithmeticError(f"no minimum within {_STEPS} steps")
    return fitted


def main() -> None:
    """Fit, and write the file anew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where corpus.py wrote the sets")
    parser.add_argument("network", type=Path, help="the file to change")
    options = parser.parse_args()
    with np.load(options.network) as data:
        arrays = dict(data)
    network = Network(arrays)
    none = {make: make(held_out=False) for make in NO_SPEECH}
    voices = {"shouts": nospeech.shouts(held_out=False)}
    for name, count in SPEECH.items():
        said = corpus.read(options.folder / f"{name}.npz")[:count]
        voices[name] = [utterance.pcm.astype(np.float32) / 32768 for utterance in said]
    all_none, all_voices = (list(chain.from_iterable(x.values())) for x in (none, voices))
    speech = [
        states_of(network, heard_of(waves, all_none, SPEECH_COPIES, seed))
        for seed, waves in enumerate(voices.values())
    ]
    others = [
        states_of(network, heard_of(waves, all_voices, COPIES[make], 100 + number))
        for number, (make, waves) in enumerate(none.items())
    ]
    print(f"{sum(map(len, speech))} keyframes of speech, {sum(map(len, others))} of none")
    weights = fit(speech, others)
    arrays["output"][:, -1] = weights[:-1]
    arrays["output_bias"][-1] = weights[-1]
    np.savez_compressed(options.network, **arrays)


if __name__ == "__main__":
    main()
