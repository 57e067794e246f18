"""Recordings of people, whose phones are found by `align`."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from align import Aligner, words_of
from labels import SAMPLE_RATE, SHORTEST_SAMPLES, Said

_SOUNDS = Path("/usr/share/asterisk/sounds")
_STAMPS = Path("/usr/share/tuxpaint/stamps")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks the prompts of the telephone exchange Asterisk.

    Attributes:
        folder: Of the recordings.
        language: Of the list of texts.
        voice: Of espeak-ng, which reads the texts.
        least_fit: What fits less was said otherwise than it is written.
    """

    folder: str
    language: str
    voice: str
    least_fit: float


SPEAKERS = {
    "allison": Speaker("en_US_f_Allison", "en", "en-us", -20),
    "allison-es": Speaker("es_MX_f_Allison", "es", "es-419", -33),
    "june": Speaker("fr_CA_f_June", "fr", "fr", -35),
    "carlo": Speaker("it_IT_m_Carlo", "it", "it", -34),
    "ivr": Speaker("ru_RU_f_IvrvoiceRU", "ru", "ru", -35),
}


# Language of the texts: espeak-ng's voice for it, and how well a recording must fit.
_STAMP_LANGUAGES = {
    "be": ("be", -36),
    "bg": ("bg", -36),
    "ca": ("ca", -36),
    "da": ("da", -36),
    "el": ("el", -36),
    "en": ("en-us", -20),
    "es": ("es", -36),
    "fr": ("fr", -36),
    "ro": ("ro", -36),
    "ru": ("ru", -36),
}


def prompts(speaker: Speaker) -> Iterator[Said]:
    """Yield the prompts that were said as they are written."""
    texts = Path(f"/usr/share/doc/asterisk-core-sounds-{speaker.language}")
    with gzip.open(
        texts / f"core-sounds-{speaker.language}.txt.gz", "rt", encoding="utf-8-sig"
    ) as lines:
        named = [line.strip().partition(":") for line in lines if line[0] != ";"]
    folder = _SOUNDS / speaker.folder
    told = ((folder / f"{name}.g722", text) for name, _, text in named if "[" not in text)
    yield from _fitting(told, speaker.voice, speaker.least_fit)


def stamps() -> Iterator[Said]:
    """Yield what people of many languages say of the pictures of Tux Paint."""
    for language, (voice, least_fit) in _STAMP_LANGUAGES.items():
        yield from _fitting(_descriptions(language), voice, least_fit)


def _descriptions(language: str) -> Iterator[tuple[Path, str]]:
    ending = "_desc.ogg" if language == "en" else f"_desc_{language}.ogg"
    for path in sorted(_STAMPS.rglob(f"*{ending}")):
        texts = path.with_name(path.name.removesuffix(ending) + ".txt")
        if texts.is_file():
            lines = texts.read_text(encoding="utf-8", errors="replace").splitlines()
            translated = dict(line.split(".utf8=", 1) for line in lines if ".utf8=" in line)
            yield path, lines[0] if language == "en" else translated.get(language, "")


def _fitting(told: Iterable[tuple[Path, str]], voice: str, least_fit: float) -> Iterator[Said]:
    """Yield the recordings that fit their texts."""
    aligner = Aligner()
    for path, text in told:
        wave = _read(path) if path.is_file() else np.zeros(0, np.float32)
        if len(wave) < SHORTEST_SAMPLES:
            continue
        phones = aligner.align(wave, words_of(text.strip(), voice), least_fit)
        if phones is not None:
            yield wave, phones


def _read(path: Path) -> npt.NDArray[np.float32]:
    """Return the samples of a file at 16 kHz, full scale 1."""
    pieces = [np.zeros(0, np.int16)]
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    if path.stat().st_size:  # some prompts are silence of no length
        with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as file:
            for frame in chain(file.decode(audio=0), [None]):  # None: the rest
                pieces += [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
    return np.concatenate(pieces).astype(np.float32) / 32768
