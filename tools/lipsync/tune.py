"""Go on from a trained network, with recordings of people as they are.

    python tools/lipsync/tune.py build/lipsync src/avatarpool/lipsync/visemes.npz

`train.py` hears every sentence elsewhere: in other rooms, through other lines. Recordings
have their own, and it is as they are that the lips are asked for. The recordings that
`evaluate.py` reads, and sentences whose closures `align` stretched, are left out. The same
machine, versions and seed give the same file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import corpus
import numpy as np
import recordings
import torch
import train
from evaluate import closure_rows
from trainable import TrainableNetwork

from examples import Example, augmented, example

# Of recordings of people, a copy as it is comes first.
COPIES = 3
STEPS, LEARNING_RATE = 12_000, 1.5e-3
SEED = 1  # of 0 and 1 this gives .001 more of jaw r, and closes as well
# Pico has more to say than is worth its memory.
MOST_SENTENCES = {"pico-us": 600, "pico-gb": 600}
# The first course drew Tux Paint's speakers as one; these are the two that it learnt least of.
STAMPS = {language: {"bg": 6, "es": 4}.get(language, 2) for language in recordings.STAMP_LANGUAGES}
SYNTHESISED = [n for n in train.PEOPLE if n not in recordings.SPEAKERS and n != "stamps"]
WEIGHTS = {name: weight for name, weight in train.PEOPLE.items() if name != "stamps"} | {
    f"stamps-{language}": weight for language, weight in STAMPS.items()
}
# Nobody holds p, b or m for longer within a word: `align` gave it a neighbour's time.
LONGEST_CLOSURE_ROWS = 16

Utterances = list[corpus.Utterance]


def recorded(folder: Path) -> dict[str, Utterances]:
    """Return what may be learnt of each recorded speaker."""
    spoken = {
        name: corpus.read(folder / f"train-{name}.npz") for name in (*recordings.SPEAKERS, "stamps")
    }
    stamps = spoken.pop("stamps")
    starts = [
        _where(corpus.read(folder / f"people-stamps-{language}.npz")[0], stamps)
        for language in STAMPS
    ]
    for language, start, end in zip(STAMPS, starts, [*starts[1:], None], strict=True):
        spoken[f"stamps-{language}"] = stamps[start:end]
    return {
        name: _sound(_not_evaluated(said, corpus.read(folder / f"people-{name}.npz")))
        for name, said in spoken.items()
    }


def _not_evaluated(said: Utterances, evaluated: Utterances) -> Utterances:
    """Return those that come after the evaluated ones, of which each is there twice."""
    return said[_where(evaluated[-1], said) + 2 :]


def _where(wanted: corpus.Utterance, said: Utterances) -> int:
    return next(i for i, each in enumerate(said) if np.array_equal(each.pcm, wanted.pcm))


def _sound(said: Utterances) -> Utterances:
    return [
        each
        for each in said
        if closure_rows(each.labels.visemes).max(initial=0) <= LONGEST_CLOSURE_ROWS
    ]


def main() -> None:
    """Tune, and write the file anew; `voice.py` comes after it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where corpus.py wrote the sets")
    parser.add_argument("network", type=Path, help="the file to go on from, and to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums come out the same, whatever the machine's cores
    with np.load(options.network) as data:
        prior = data["prior"].astype(np.float32)

    def as_they_are(said: Utterances) -> list[Example]:
        return [example(each.pcm.astype(np.float32) / 32768, each.labels, prior) for each in said]

    def elsewhere(said: Utterances, seed: int) -> list[Example]:
        return [e for k in range(COPIES) for e in augmented(said, seed + k, prior)]

    people = {}
    for number, (name, said) in enumerate(recorded(options.folder).items(), start=100):
        if said:  # of two, all is evaluated
            people[name] = as_they_are(said) + elsewhere(said, 100 * number)
    for number, name in enumerate(SYNTHESISED, start=200):
        said = corpus.read(options.folder / f"train-{name}.npz")[: MOST_SENTENCES.get(name)]
        people[name] = elsewhere(said, 100 * number)
    espeak = elsewhere(corpus.read(options.folder / "train-espeak.npz"), 50)
    print(f"{len(espeak)} + {sum(map(len, people.values()))} examples", flush=True)
    torch.manual_seed(options.seed)
    network = TrainableNetwork.load(options.network)
    blender = train.Blender(espeak, people, WEIGHTS, options.seed)
    train.train(network, blender, options.steps, LEARNING_RATE)
    network.save(options.network, prior)


if __name__ == "__main__":
    main()
