"""SVOX Pico's recorded voices, whose phones are found by `align`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from align import Aligner, words_of
from flite import as_of_size
from labels import Said
from sentences import Request
from ttspico import TtsEngine


@dataclass(frozen=True, slots=True)
class Voice:
    """The only voice of a language.

    Attributes:
        name: Pico's of the language.
        language: espeak-ng's, which reads what Pico says.
        least_fit: What fits less is read otherwise by the two.
    """

    name: str
    language: str
    least_fit: float


VOICES = {
    "us": Voice("en-US", "en-us", -20),
    "gb": Voice("en-GB", "en-gb", -21),
    "de": Voice("de-DE", "de", -34),
    "es": Voice("es-ES", "es", -30),
    "fr": Voice("fr-FR", "fr", -40),
    "it": Voice("it-IT", "it", -33),
}


class Pico:
    """One voice."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._engine = TtsEngine(voice.name)
        self._aligner = Aligner()

    def speak(self, request: Request) -> Said | None:
        """Return how the voice says something; None where that does not fit the text."""
        self._engine.rate = round(100 * request.size / request.stretch)
        self._engine.pitch = round(100 * request.pitch * request.size)
        pcm = np.frombuffer(self._engine.speak(request.text), "<i2")
        wave = pcm.astype(np.float32) / 32768
        words = words_of(request.text, self._voice.language)
        phones = self._aligner.align(wave, words, self._voice.least_fit)
        return None if phones is None else as_of_size((wave, phones), request.size)
