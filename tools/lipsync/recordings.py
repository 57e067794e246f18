"""Recordings of people, whose phones are found by `align`."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from align import Aligner, words_of
from labels import SAMPLE_RATE, SHORTEST_SAMPLES, Phone, Said

_SOUNDS = Path("/usr/share/asterisk/sounds")
_STAMPS = Path("/usr/share/tuxpaint/stamps")
_BOOK = Path("/usr/share/pocketsphinx/test/data/librivox")
_WORDS = Path("/usr/share/ktuberling/sounds/en")
_WORDS_AT_ONCE = 12


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks the prompts of the telephone exchange Asterisk.

    Attributes:
        folder: Of the recordings.
        language: Of the list of texts.
        voice: Of espeak-ng, which reads the texts.
        least_fit: What fits less was said otherwise than it is written.
        ending: Of the files' names.
    """

    folder: str
    language: str
    voice: str
    least_fit: float
    ending: str = ".g722"


SPEAKERS = {
    "allison": Speaker("en_US_f_Allison", "en", "en-us", -20),
    "allison-es": Speaker("es_MX_f_Allison", "es", "es-419", -33),
    "june": Speaker("fr_CA_f_June", "fr", "fr", -35),
    "carlo": Speaker("it_IT_m_Carlo", "it", "it", -34),
    "ivr": Speaker("ru_RU_f_IvrvoiceRU", "ru", "ru", -35),
}
# No network has heard her. At 8 kHz; the texts are those of Carlo's prompts, where they fit.
MENARDI = Speaker("it_IT_f_Menardi", "it", "it", -34, ".wav")


# Language of the texts: espeak-ng's voice for it, and how well a recording must fit.
STAMP_LANGUAGES = {
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
    told = (
        (folder / f"{name}{speaker.ending}", text) for name, _, text in named if "[" not in text
    )
    yield from _fitting(told, speaker.voice, speaker.least_fit)


def stamps(*languages: str) -> Iterator[Said]:
    """Yield what people of these languages, or of all, say of the pictures of Tux Paint."""
    for language in languages or STAMP_LANGUAGES:
        voice, least_fit = STAMP_LANGUAGES[language]
        yield from _fitting(_descriptions(language), voice, least_fit)


def book() -> Iterator[Said]:
    """Yield the sentences of a novel in PocketSphinx's tests; no network has heard them."""
    lines = (_BOOK / "transcription").read_text(encoding="utf-8").splitlines()
    told = (line.removeprefix("<s> ").rstrip(")").split(" </s> (") for line in lines)
    yield from _fitting(((_BOOK / f"{name}.wav", text) for text, name in told), "en-us", -20)


def words() -> Iterator[Said]:
    """Yield KTuberling's English words, some after each other; no network has heard them."""
    files = sorted(_WORDS.glob("*.ogg"))
    told = ((path, path.stem.rpartition("_")[2]) for path in files)
    said = iter(_fitting(told, "en-us", -20))
    while together := list(islice(said, _WORDS_AT_ONCE)):
        starts = np.cumsum([0] + [len(wave) for wave, _ in together]) / SAMPLE_RATE
        yield (
            np.concatenate([wave for wave, _ in together]),
            [
                Phone(start + phone.start, start + phone.end, phone.ipa)
                for start, (_, phones) in zip(starts, together, strict=False)
                for phone in phones
            ],
        )


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
        wave = read(path) if path.is_file() else np.zeros(0, np.float32)
        if len(wave) < SHORTEST_SAMPLES:
            continue
        phones = aligner.align(wave, words_of(text.strip(), voice), least_fit)
        if phones is not None:
            yield wave, phones


def read(path: Path) -> npt.NDArray[np.float32]:
    """Return the samples of a file at 16 kHz, full scale 1."""
    pieces = [np.zeros(0, np.int16)]
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    if path.stat().st_size:  # some prompts are silence of no length
        with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as file:
            for frame in chain(file.decode(audio=0), [None]):  # None: the rest
                pieces += [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
    return np.concatenate(pieces).astype(np.float32) / 32768
