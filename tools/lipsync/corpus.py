"""Labelled speech: generate it, keep it, read it back.

    python tools/lipsync/corpus.py build/lipsync

writes every set as an ``.npz`` file; those that are there already are kept.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import inf
from multiprocessing import get_context
from pathlib import Path

import festival
import flite
import numpy as np
import numpy.typing as npt
import pico
import recordings
from espeak import Espeak, UnknownVoice
from labels import ROW_SAMPLES, SHORTEST_SAMPLES, Labels, Said, label
from sentences import (
    MADE_UP_LANGUAGES,
    TEST_SENTENCES,
    Request,
    made_up_sentence,
    random_sentence,
)

# espeak-ng's voice variants. Whispers have no pitch, and robots speak to nobody.
TRAINING_VARIANTS = (
    "m1 m2 m3 m4 m5 m6 f1 f2 f3 f4 klatt klatt2 klatt4 Alex Alicia Andrea Annie Denis Diogo Gene "
    "Henrique Hugo Lee Marco Mario Mike anika antonio aunty benjamin boris caleb ed grandma "
    "grandpa iven iven2 john kaukovalta marcelo max miguel pablo paul quincy rob sandro shelby "
    "steph travis victor zac whisper"
).split()
VALIDATION_VARIANTS = "Andy Nguyen gustave iven3 iven4 klatt5 michel pedro".split()
UNSEEN_VARIANTS = (
    "m7 m8 f5 Michael Jacky belinda edward linda steph2 klatt3 adam david norbert robert"
).split()
TRAINING_LANGUAGES = "en-us " * 5 + "en-gb " * 2 + "de fr es it pt pl nl"
UNSEEN_LANGUAGES = "ru sv tr ja cmn hi cs fi el hu id ko ro".split()

_SIZES = (0.76, 0.82, 0.88, 0.94, 1.0, 1.06, 1.14)  # of vocal tracts
_OTHER_SIZES = (0.84, 0.88, 0.92, 1.08, 1.12, 1.16)
_FESTIVAL_BATCH = 50  # sentences a process


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence: samples at 16 kHz, and its labels."""

    pcm: npt.NDArray[np.int16]
    labels: Labels


def _espeak(speak: Callable[[random.Random, int], Said], seed: int) -> Iterator[Utterance]:
    source = random.Random(seed)
    for i in range(sys.maxsize):
        try:
            wave, phones = speak(source, i)
        except UnknownVoice:
            continue
        if len(wave) >= SHORTEST_SAMPLES:
            yield _utterance((wave, phones), find_closures=True)


def _espeak_training(seed: int) -> Iterator[Utterance]:
    synthesiser = Espeak()
    languages = TRAINING_LANGUAGES.split()

    def speak(source: random.Random, _: int) -> Said:
        language = source.choice(languages)
        variant = source.choice([*TRAINING_VARIANTS, "", "", ""])
        return synthesiser.speak(
            random_sentence(language, source),
            f"{language}+{variant}" if variant else language,
            words_per_minute=source.randint(120, 230),
            pitch=source.randint(15, 85),
        )

    return _espeak(speak, seed)


def _espeak_test(seed: int, variants: list[str], languages: list[str]) -> Iterator[Utterance]:
    synthesiser = Espeak()

    def speak(source: random.Random, i: int) -> Said:
        language = languages[i % len(languages)]
        is_english = language == "en-us"
        text = TEST_SENTENCES[i % len(TEST_SENTENCES)]
        return synthesiser.speak(
            text if is_english else random_sentence(language, source),
            f"{language}+{source.choice(variants)}",
            words_per_minute=source.randint(140, 200),
            pitch=source.randint(30, 70),
        )

    return _espeak(speak, seed)


def _festival_training(voice: festival.Voice, seed: int) -> Iterator[Utterance]:
    source = random.Random(seed)
    while True:
        requests = [
            _request(partial(_readable, voice, source), source) for _ in range(_FESTIVAL_BATCH)
        ]
        for said in festival.speak(voice, requests):
            yield from _if_long(said)


def _as_said(said: Callable[[], Iterator[Said]]) -> Iterator[Utterance]:
    yield from map(_utterance, said())


def _recorded(said: Callable[[], Iterator[Said]], seed: int) -> Iterator[Utterance]:
    """Each recording as it is, and once more as of a longer or shorter vocal tract."""
    source = random.Random(seed)
    for each in said():
        for size in (1.0, source.choice(_OTHER_SIZES)):
            yield from _if_long(flite.as_of_size(each, size))


def _flite_training(voice: str, seed: int) -> Iterator[Utterance]:
    source = random.Random(seed)
    while True:
        request = _request(partial(random_sentence, "en-us", source), source)
        yield _utterance(flite.speak(voice, request))


def _pico_training(voice: pico.Voice, seed: int) -> Iterator[Utterance]:
    source = random.Random(seed)
    synthesiser = pico.Pico(voice)
    while True:
        said = synthesiser.speak(_request(partial(random_sentence, voice.language, source), source))
        if said is not None:
            yield _utterance(said)


def _flite_test(voices: tuple[str, ...]) -> Iterator[Utterance]:
    for i in range(sys.maxsize):
        text = TEST_SENTENCES[i // len(voices) % len(TEST_SENTENCES)]
        yield _utterance(flite.speak(voices[i % len(voices)], Request(text)))


def _flite_validation(voice: str) -> Iterator[Utterance]:
    source = random.Random(78)
    while True:
        yield _utterance(flite.speak(voice, Request(random_sentence("en-us", source))))


def _festival_validation(voice: festival.Voice) -> Iterator[Utterance]:
    source = random.Random(77)
    while True:
        texts = [_readable(voice, source) for _ in range(_FESTIVAL_BATCH)]
        said = festival.speak(voice, [Request(text) for text in texts])
        yield from map(_utterance, said)


def _request(make: Callable[[], str], source: random.Random) -> Request:
    """Return a sentence, said in any way."""
    size = source.choice(_SIZES)
    return Request(
        make(),
        stretch=source.uniform(0.8, 1.3),
        # Who has a shorter vocal tract has a higher voice, mostly.
        pitch=source.uniform(0.8, 1.35) / size**2,
        size=size,
    )


def _readable(voice: festival.Voice, source: random.Random) -> str:
    """Return a sentence in ASCII."""
    make = made_up_sentence if voice.language in MADE_UP_LANGUAGES else random_sentence
    while not (text := make(voice.language, source)).isascii():
        pass
    return text


def _if_long(said: Said) -> Iterator[Utterance]:
    wave, phones = said
    if len(wave) >= SHORTEST_SAMPLES:
        # Some voices are louder than a file can hold once they are resampled.
        yield _utterance((wave / max(1.0, float(np.abs(wave).max())), phones))


def _utterance(said: Said, *, find_closures: bool = False) -> Utterance:
    wave, phones = said
    labels = label(phones, wave, find_closures=find_closures)
    samples = wave[: len(labels.visemes) * ROW_SAMPLES]
    return Utterance((np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16), labels)


# Name: minutes (inf: all there are), and where they come from.
SETS: dict[str, tuple[float, Callable[[], Iterator[Utterance]]]] = {
    "train-espeak": (240, lambda: _espeak_training(1)),
    "train-rms": (120, lambda: _flite_training("rms", 2)),
    "train-awb": (120, lambda: _flite_training("awb", 3)),
    **{
        f"train-{name}": (40, partial(_festival_training, voice, 20 + i))
        for i, (name, voice) in enumerate(festival.VOICES.items())
    },
    **{
        f"train-pico-{name}": (
            120 if name in ("us", "gb") else 20,
            partial(_pico_training, voice, 60 + i),
        )
        for i, (name, voice) in enumerate(pico.VOICES.items())
    },
    "train-ru": (98, partial(_as_said, festival.recordings)),
    **{
        f"train-{name}": (inf, partial(_recorded, partial(recordings.prompts, speaker), 40 + i))
        for i, (name, speaker) in enumerate(recordings.SPEAKERS.items())
    },
    "train-stamps": (inf, partial(_recorded, recordings.stamps, 50)),
    "validation-espeak": (6, lambda: _espeak_test(4, VALIDATION_VARIANTS, ["en-us"])),
    "validation-awb": (4, lambda: _flite_test(("awb",))),
    "validation-words": (8, lambda: _flite_validation("awb")),
    "validation-ked": (8, lambda: _festival_validation(festival.VOICES["ked"])),
    "validation-lj": (8, lambda: _festival_validation(festival.VOICES["lj"])),
    "validation-allison": (
        inf,
        partial(_as_said, partial(recordings.prompts, recordings.SPEAKERS["allison"])),
    ),
    "test-sentences": (8, lambda: _espeak_test(5, TRAINING_VARIANTS, ["en-us"])),
    "test-voices": (8, lambda: _espeak_test(6, UNSEEN_VARIANTS, ["en-us"])),
    "test-languages": (8, lambda: _espeak_test(7, UNSEEN_VARIANTS, UNSEEN_LANGUAGES)),
    "test-flite": (8, lambda: _flite_test(flite.HELD_OUT_VOICES)),
    **{f"test-{voice}": (4, partial(_flite_test, (voice,))) for voice in flite.HELD_OUT_VOICES},
    **{
        f"people-{name}": (4, partial(_as_said, partial(recordings.prompts, speaker)))
        for name, speaker in (recordings.SPEAKERS | {"menardi": recordings.MENARDI}).items()
    },
    **{
        f"people-stamps-{language}": (4, partial(_as_said, partial(recordings.stamps, language)))
        for language in recordings.STAMP_LANGUAGES
    },
    "people-book": (inf, partial(_as_said, recordings.book)),
    "people-words": (inf, partial(_as_said, recordings.words)),
}


def write(path: Path, utterances: Iterator[Utterance], minutes: float) -> int:
    """Keep that many minutes, or all there is; return the number of sentences."""
    kept: list[Utterance] = []
    rows = 0
    for utterance in utterances:
        kept.append(utterance)
        rows += len(utterance.labels.visemes)
        if rows >= minutes * 6000:
            break
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file,
            pcm=np.concatenate([u.pcm for u in kept]),
            visemes=np.concatenate([u.labels.visemes for u in kept]),
            openness=np.concatenate([u.labels.openness for u in kept]),
            rows=np.array([len(u.labels.visemes) for u in kept]),
        )
    part.rename(path)
    return len(kept)


def read(path: Path) -> list[Utterance]:
    """Return the sentences of a set."""
    with np.load(path) as data:
        ends = np.cumsum(data["rows"])[:-1]
        return [
            Utterance(pcm, Labels(visemes, openness))
            for pcm, visemes, openness in zip(
                np.split(data["pcm"], ends * ROW_SAMPLES),
                np.split(data["visemes"], ends),
                np.split(data["openness"], ends),
                strict=True,
            )
        ]


def generate(name: str, path: Path) -> str:
    """Write a set; return what was written, as a sentence."""
    minutes, source = SETS[name]
    began = time.monotonic()
    count = write(path, source(), minutes)
    return f"{name}: {count} sentences, in {time.monotonic() - began:.0f} s"


def main() -> None:
    """Generate the sets that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], help="all if none is named")
    parser.add_argument(
        "--for-evaluation", action="store_true", help="those that `evaluate.py` reads alone"
    )
    options = parser.parse_args()
    if options.for_evaluation:
        options.sets = [name for name in SETS if name.startswith(("test-", "people-"))]
    options.folder.mkdir(parents=True, exist_ok=True)
    # A process for each: what espeak-ng says depends a little on what it said before.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        for name in options.sets or SETS:
            path = options.folder / f"{name}.npz"
            if not path.exists():
                print(processes.submit(generate, name, path).result(), flush=True)


if __name__ == "__main__":
    main()
