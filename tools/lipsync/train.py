"""Train the network and write it where the package reads it.

    python tools/lipsync/train.py build/lipsync src/avatarpool/lipsync/visemes.npz

The same machine, versions and seed give the same file.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import corpus
import numpy as np
import numpy.typing as npt
import torch
from phones import CLASS_OF, CLASSES
from torch import Tensor
from trainable import TrainableNetwork

from avatarpool.lipsync.features import BANDS, FEATURES, LATE_BLOCKS, ROWS_PER_BLOCK
from avatarpool.lipsync.visemes import VISEMES
from examples import Example, augmented, logs_of

# How often each sentence is heard, in another room by another vocal tract: of a single
# copy, a network learns the room too.
COPIES = 4
# Sets of people's voices, and how often each is drawn: English more often, as theirs
# is the speech that the lips are mostly asked for, and recordings that no
# synthesiser took apart.
PEOPLE = {
    "rms": 5,
    "awb": 5,
    "ked": 3,
    "ru": 2,
    "allison": 5,
    "allison-es": 2,
    "june": 3,
    "carlo": 3,
    "ivr": 2,
    "stamps": 4,
    "pico-us": 5,
    "pico-gb": 5,
    **dict.fromkeys(("lp", "pc", "lj", "mv", "dita", "krb", "machac", "ph", "ona"), 1),
    **dict.fromkeys(("pico-de", "pico-es", "pico-fr", "pico-it"), 1),
}
BATCH, PEOPLE_SHARE = 28, 0.6
KEYFRAMES = 120  # that an utterance gives to a batch, at most
STEPS = 54000
WARM_UP_STEPS, LEARNING_RATE, WEIGHT_DECAY = 200, 3e-3, 1e-3
# Phones have no sharp edges, and synthesisers' labels are a little wrong.
LABEL_SMOOTHING = 0.03
CLASS_SHARE = 0.5  # of the loss that is about the nine visible classes
JAW_WEIGHT = 8.0

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Blender:
    """Draws batches: utterances of all sources, each heard a little differently every time."""

    def __init__(
        self,
        espeak: list[Example],
        people: dict[str, list[Example]],
        weights: dict[str, int],
        seed: int,
    ) -> None:
        self._espeak = espeak
        self._people = list(people.values())
        of_people = np.array([weights[name] for name in people], np.float64)
        self._chances = of_people / of_people.sum()
        self._numpy = np.random.default_rng(seed)
        self._torch = torch.Generator().manual_seed(seed)

    def batches(self) -> Iterator[Batch]:
        """Yield blocks, shares of visemes, jaw, and 1 where a keyframe counts."""
        of_people = round(BATCH * PEOPLE_SHARE)
        while True:
            sources = [self._espeak] * (BATCH - of_people)
            for voice in self._numpy.choice(len(self._people), of_people, p=self._chances):
                sources.append(self._people[voice])
            chosen = [source[self._numpy.integers(len(source))] for source in sources]
            parts = [self._cut(example) for example in chosen]
            blocks, shares, jaw, counts = map(torch.stack, zip(*parts, strict=True))
            yield self._disturbed(blocks), shares, jaw, counts

    def _cut(self, example: Example) -> Batch:
        """Half of the long utterances begin somewhere inside."""
        count = len(example.jaw)
        spare = count - KEYFRAMES
        start = int(self._numpy.integers(0, spare)) if spare > 0 and self._coin(0.5) else 0
        count = min(count - start, KEYFRAMES)
        blocks = torch.zeros(KEYFRAMES + LATE_BLOCKS, ROWS_PER_BLOCK, FEATURES)
        blocks[: count + LATE_BLOCKS] = torch.from_numpy(
            example.blocks[start : start + count + LATE_BLOCKS].astype(np.float32)
        )
        shares, jaw = torch.zeros(KEYFRAMES, len(VISEMES)), torch.zeros(KEYFRAMES)
        shares[:count] = torch.from_numpy(example.shares[start : start + count])
        jaw[:count] = torch.from_numpy(example.jaw[start : start + count])
        return blocks, shares, jaw, (torch.arange(KEYFRAMES) < count).float()

    def _coin(self, chance: float) -> bool:
        return bool(self._numpy.random() < chance)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._torch)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._torch)

    def _disturbed(self, blocks: Tensor) -> Tensor:
        """Change loudness, colour and contrast, mask bands, add noise."""
        count = len(blocks)
        place = torch.linspace(0, 1, BANDS)
        colour = sum(
            self._normal(count, 1) * size * torch.cos(torch.pi * k * place)
            for k, size in enumerate((0.12, 0.2, 0.16, 0.12, 0.08))
        )
        contrast = 1.0 + 0.08 * (2.0 * self._uniform(count, 1, 1, 1) - 1.0)
        bands = blocks[..., :BANDS] * contrast + colour[:, None, None, :]
        band = torch.arange(BANDS)
        first = (self._uniform(count, 1) * BANDS).int()
        is_masked = (band >= first) & (band < first + 1 + (self._uniform(count, 1) * 5).int())
        is_masked &= self._uniform(count, 1) < 0.4
        # Half as many bands as at 8 kHz have nothing in them.
        is_masked |= (band >= 19) & (self._uniform(count, 1) < 0.08)
        bands = bands.masked_fill(is_masked[:, None, None, :], 0.0)
        level = blocks[..., BANDS:] + 0.12 * self._normal(count, 1, 1, 1)
        features = torch.cat([bands, level], dim=-1)
        return features + 0.08 * self._normal(*features.shape)


def loss_of(network: TrainableNetwork, batch: Batch) -> Tensor:
    """Return what training makes smaller."""
    blocks, shares, jaw, counts = batch
    logs, guessed_jaw = network(blocks)
    logs, guessed_jaw = logs[:, LATE_BLOCKS:], guessed_jaw[:, LATE_BLOCKS:]
    truth = shares * (1.0 - LABEL_SMOOTHING) + LABEL_SMOOTHING / len(VISEMES)
    to_classes = torch.eye(len(CLASSES))[torch.from_numpy(CLASS_OF)]
    of_visemes = -(truth * logs).sum(-1)
    of_classes = -((truth @ to_classes) * (logs.exp() @ to_classes + 1e-8).log()).sum(-1)
    of_jaw = (guessed_jaw - jaw) ** 2
    loss = (1.0 - CLASS_SHARE) * of_visemes + CLASS_SHARE * of_classes + JAW_WEIGHT * of_jaw
    return (loss * counts).sum() / counts.sum()


def train(network: TrainableNetwork, blender: Blender, steps: int, rate: float) -> None:
    """Change the network by that many batches, at this rate at first, reporting every 500."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)

    def share(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1.0 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
    losses = []
    began = time.monotonic()
    for step, batch in zip(range(1, steps + 1), blender.batches(), strict=False):
        loss = loss_of(network, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 500 == 0:
            minutes = (time.monotonic() - began) / 60
            print(f"step {step}: loss {np.mean(losses[-500:]):.4f}, {minutes:.1f} min", flush=True)
    network.eval()


def prior_of(utterances: list[corpus.Utterance]) -> npt.NDArray[np.float32]:
    """Return each band's mean log power where there is speech, as the network keeps it."""
    logs = np.concatenate([logs_of(u.pcm.astype(np.float32) / 65536) for u in utterances])
    spoken = np.exp(logs).sum(axis=1) > 10**-5.5
    return logs[spoken].mean(axis=0).astype(np.float16).astype(np.float32)


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where corpus.py wrote the sets")
    parser.add_argument("network", type=Path, help="the file to write")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--without",
        nargs="+",
        choices=PEOPLE,
        default=[],
        help="voices to choose by: train without",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)  # sums come out the same, whatever the machine's cores

    def heard(name: str, seed: int) -> list[Example]:
        spoken = corpus.read(options.folder / f"train-{name}.npz")
        return [e for k in range(COPIES) for e in augmented(spoken, seed + k, prior)]

    prior = prior_of(corpus.read(options.folder / "train-espeak.npz")[:300])
    espeak = heard("espeak", 0)
    people = {}
    for number, voice in enumerate(PEOPLE, start=1):
        if voice not in options.without:
            people[voice] = heard(voice, 100 * number)
    print(f"{len(espeak)} + {sum(map(len, people.values()))} examples", flush=True)
    torch.manual_seed(options.seed)
    network = TrainableNetwork()
    blender = Blender(espeak, people, PEOPLE, options.seed)
    train(network, blender, options.steps, LEARNING_RATE)
    network.save(options.network, prior)


if __name__ == "__main__":
    main()
