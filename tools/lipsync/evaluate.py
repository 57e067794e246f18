"""Score the packaged driver on speech that its network was neither trained on nor chosen by.

    python tools/lipsync/evaluate.py build/lipsync

Columns, all at 25 keyframes a second:

- acc9: share of keyframes whose visible class is right; +-1: or that of a neighbour;
- jaw: correlation of the network's opening with the true one, smoothed by 30 ms;
- pose: the same of the keyframes' `jaw_pose`, and of the driver `dsp`;
- PP@.6: share of closed lips found at the threshold where .6 of what is found is right;
- found, right: recall and precision of keyframes whose lips are pressed by half or more.

Then, speaker by speaker, as `align` found the truth:

- closed/open: mean opening of `jaw_pose` where p, b or m fill half of a keyframe or more,
  over its mean in the rest of the speech;
- short: the same, of closures that last 120 ms at most; where the truth says far longer
  ones, `align` has often stretched them over the vowel beside;
- jaw r: correlation of `jaw_pose` with the true opening;
- closures: how many such keyframes there are.

Last, how far sounds that are no speech open the mouth, 0 to 1, and the share of keyframes
in which they open it by a tenth or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import corpus
import nospeech
import numpy as np
import numpy.typing as npt
import recordings
from labels import SAMPLE_RATE
from phones import CLASS_OF, CLASSES

from avatarpool.blendshapes.local import JAW_RADIANS
from avatarpool.lipsync import VISEMES, DriverFactory, DspDriver
from avatarpool.lipsync.features import FEATURES, LATE_BLOCKS, ROWS_PER_BLOCK
from avatarpool.lipsync.model import ModelDriver
from avatarpool.lipsync.network import Network, load_network
from avatarpool.protocol.keyframes import Keyframe
from examples import example, targets

_CLOSED = CLASSES.index("PP")
_PRESS = 1  # in a keyframe's expression
_PRECISION = 0.6
_SHORT_ROWS = 12

SETS = {
    "test-sentences": "espeak, unseen sentences",
    "test-voices": "espeak, 14 unseen voices",
    "test-languages": "espeak, 13 unseen languages",
    "test-flite": "flite slt + kal held out",
}
# For choosing: of a network trained with `--without awb ked lj allison allison-es`.
VALIDATION_SETS = {
    "validation-espeak": "espeak, 8 other voices",
    "validation-awb": "flite awb, sentences",
    "validation-words": "flite awb, random words",
    "validation-ked": "festival ked, random words",
    "validation-lj": "festival lj, random words",
    "validation-allison": "recordings, one speaker",
}
SPEAKERS = {
    "people-book": "novel, read by a man",
    "people-words": "KTuberling, single words",
    "people-menardi": "Menardi, Italian, 8 kHz",
    "test-slt": "flite slt",
    "test-kal16": "flite kal",
    "people-allison": "Allison Smith",
    "people-allison-es": "Allison Smith, Spanish",
    "people-june": "June Wallack, French",
    "people-carlo": "Carlo Flora, Italian",
    "people-ivr": "ivrvoice.ru, Russian",
    **{
        f"people-stamps-{language}": f"Tux Paint, {language}"
        for language in recordings.STAMP_LANGUAGES
    },
}
"""The first five in no training set of the lips."""

Values = list[float]


@dataclass
class Score:
    """What has been seen so far, keyframe by keyframe."""

    truth: list[int] = field(default_factory=list)
    guess: list[int] = field(default_factory=list)
    is_near: list[bool] = field(default_factory=list)
    opening: Values = field(default_factory=list)
    jaw: Values = field(default_factory=list)
    posed: Values = field(default_factory=list)
    posed_by_dsp: Values = field(default_factory=list)
    closure: Values = field(default_factory=list)
    press: Values = field(default_factory=list)

    def add(self, network: Network, utterance: corpus.Utterance) -> None:
        """Animate one utterance and compare."""
        heard = example(utterance.pcm.astype(np.float32) / 32768, utterance.labels, network.prior)
        rows = heard.blocks.reshape(-1, FEATURES).astype(np.float32)
        seen = network.see(rows, network.new_memory())
        beliefs = seen.visemes[LATE_BLOCKS:]
        classes = beliefs @ np.eye(len(CLASSES))[CLASS_OF]
        guess = classes.argmax(axis=1)
        truth = CLASS_OF[heard.shares.argmax(axis=1)]
        around = np.pad(truth, 1, mode="edge")
        self.truth += truth.tolist()
        self.guess += guess.tolist()
        self.is_near += np.any(
            [around[:-2] == guess, around[1:-1] == guess, around[2:] == guess], axis=0
        ).tolist()
        self.closure += classes[:, _CLOSED].tolist()
        self.opening += heard.jaw.tolist()
        self.jaw += seen.jaw[LATE_BLOCKS:].tolist()
        posed = _animated(ModelDriver, utterance)
        self.posed += [k.jaw_pose[0] for k in posed]
        self.press += [k.expression[_PRESS] for k in posed]
        self.posed_by_dsp += [k.jaw_pose[0] for k in _animated(DspDriver, utterance)]

    def line(self) -> str:
        """Return the columns."""
        is_closed = np.array(self.truth) == _CLOSED
        is_pressed = np.array(self.press) >= 0.5
        hits = (is_closed & is_pressed).sum()
        values = (
            np.mean(np.array(self.truth) == self.guess),
            np.mean(self.is_near),
            np.corrcoef(self.opening, self.jaw)[0, 1],
            np.corrcoef(self.opening, self.posed)[0, 1],
            np.corrcoef(self.opening, self.posed_by_dsp)[0, 1],
            recall(np.array(self.closure), is_closed),
            hits / is_closed.sum(),
            hits / max(1, is_pressed.sum()),
        )
        return "".join(f"{value:8.3f}" for value in values)


def recall(
    scores: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_], precision: float = _PRECISION
) -> float:
    """Return the largest share of what is true that is found at this precision."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    is_precise = hits >= precision * np.arange(1, len(hits) + 1)
    return float(hits[is_precise].max(initial=0) / truth.sum())


def _animated(make: DriverFactory, utterance: corpus.Utterance) -> list[Keyframe]:
    return _keyframes(make, utterance.pcm)


def _keyframes(make: DriverFactory, pcm: npt.NDArray[np.int16]) -> list[Keyframe]:
    driver = make(SAMPLE_RATE, 0)
    return driver.feed(pcm.tobytes()) + driver.finish()


def closing(utterances: Iterable[corpus.Utterance]) -> tuple[float, float, float, int]:
    """Return one speaker's columns."""
    posed: Values = []
    shares, openings, lengths = [], [], []
    for utterance in utterances:
        posed += [keyframe.jaw_pose[0] for keyframe in _animated(ModelDriver, utterance)]
        share, opening = targets(utterance.labels)
        shares.append(share)
        openings.append(opening)
        lengths.append(closure_rows(utterance.labels.visemes))
    jaw, true = np.array(posed), np.concatenate(shares)
    is_closed = true[:, VISEMES.index("PP")] >= 0.5
    is_spoken = true[:, VISEMES.index("sil")] < 0.5
    is_short = is_closed & (np.concatenate(lengths) <= _SHORT_ROWS)
    opened = jaw[is_spoken & ~is_closed].mean()
    r = np.corrcoef(jaw, np.concatenate(openings))[0, 1]
    ratio, of_short = (float(jaw[these].mean() / opened) for these in (is_closed, is_short))
    return ratio, of_short, float(r), int(is_closed.sum())


def closure_rows(visemes: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Return how many rows the longest closure in each keyframe lasts; 0 without one."""
    is_closed = np.pad(visemes == VISEMES.index("PP"), 1).astype(np.int8)
    edges = np.flatnonzero(np.diff(is_closed))
    rows = np.zeros(len(visemes) + -len(visemes) % ROWS_PER_BLOCK, np.int64)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        rows[start:end] = end - start
    longest: npt.NDArray[np.int64] = rows.reshape(-1, ROWS_PER_BLOCK).max(axis=1)
    return longest


def opening_in(waves: list[nospeech.Wave]) -> tuple[float, float, float]:
    """Return how far they open the mouth: mean, 95th percentile, share that is over a tenth."""
    jaws = np.array(
        [
            keyframe.jaw_pose[0] / JAW_RADIANS
            for wave in waves
            for keyframe in _keyframes(ModelDriver, (np.clip(wave, -1, 1) * 32767).astype(np.int16))
        ]
    )
    return float(jaws.mean()), float(np.quantile(jaws, 0.95)), float((jaws > 0.1).mean())


def score(network: Network, utterances: Iterable[corpus.Utterance]) -> Score:
    """Return the score of all of them."""
    total = Score()
    for utterance in utterances:
        total.add(network, utterance)
    return total


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where corpus.py wrote the sets")
    parser.add_argument(
        "--validation", action="store_true", help="score what networks are chosen by instead"
    )
    options = parser.parse_args()
    columns = ("acc9", "+-1", "jaw", "pose", "dsp", "PP@.6", "found", "right")
    print(f"{'':30}" + "".join(f"{name:>8}" for name in columns))
    for name, title in (VALIDATION_SETS if options.validation else SETS).items():
        total = score(load_network(), corpus.read(options.folder / f"{name}.npz"))
        print(f"{title:30}{total.line()}", flush=True)
    if options.validation:
        return
    print(f"\n{'':30}{'closed/open':>12}{'short':>8}{'jaw r':>8}{'closures':>10}")
    for name, title in SPEAKERS.items():
        ratio, of_short, r, count = closing(corpus.read(options.folder / f"{name}.npz"))
        print(f"{title:30}{ratio:12.2f}{of_short:8.2f}{r:8.3f}{count:10}", flush=True)
    print(f"\n{'':30}{'mean':>8}{'p95':>8}{'open':>8}")
    for is_held_out in (True, False):
        for make in (nospeech.laughter, nospeech.music, nospeech.breath, nospeech.shouts):
            title = make.__name__ + (", held out" if is_held_out else "")
            values = opening_in(make(held_out=is_held_out))
            print(f"{title:30}" + "".join(f"{value:8.3f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
