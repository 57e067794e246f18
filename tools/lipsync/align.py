"""When each phone of a recording is said, found with PocketSphinx's model of English.

    python tools/lipsync/align.py

compares what is found with what flite says of its own voices.
"""

from __future__ import annotations

import subprocess
from math import inf

import flite
import numpy as np
import numpy.typing as npt
from labels import SAMPLE_RATE, Phone, label
from phones import CLASS_OF, CLASSES
from pocketsphinx import Decoder, get_model_path
from sentences import TEST_SENTENCES, Request

Word = list[str]  # its phones, in IPA

# What a letter of IPA sounds like to an English ear. Other languages' sounds
# get their nearest: where the mouth closes is found with those too.
_NEAREST = {
    letter: name
    for name, letters in (
        pair.split("=")
        for pair in (
            "P=p B=b M=m F=fɸ V=vʋβ TH=θ DH=ð T=tʈ D=dɾʔɟ K=kqxχc G=ɡgɣ SH=ʃɕʂç ZH=ʒʑʐ S=s Z=z "
            "N=nɲɳ NG=ŋ L=lʎɫɭ R=ɹrʁɽɻ ER=ɚɝɜ AA=ɑɐaɒ AE=æ AH=ʌəɘɤ EH=ɛ EY=e IH=ɪɨᵻ IY=i OW=oɵ "
            "EH=œ UH=ʊøʏ AO=ɔ UW=uʉɯ Y=jɥy W=wɰ HH=hɦ"
        ).split()
    )
    for letter in letters
}
_PAIRS = {
    "tʃ": "CH",
    "tɕ": "CH",
    "dʒ": "JH",
    "aɪ": "AY",
    "aʊ": "AW",
    "eɪ": "EY",
    "oʊ": "OW",
    "əʊ": "OW",
    "ɔɪ": "OY",
}
# Wide, so that no right path is given up.
_BEAMS = {"beam": 1e-120, "wbeam": 1e-100, "pbeam": 1e-120}
_QUIET_SECONDS = 0.1  # put around what is aligned


def words_of(text: str, language: str) -> list[Word]:
    """Return how espeak-ng would read a text."""
    command = ["espeak-ng", "-q", "--ipa", "--sep=_", "-v", language, text]
    said = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    words = ([p for p in word.split("_") if _names(p)] for word in said.stdout.split())
    return [word for word in words if word]


class Aligner:
    """Finds the phones of given words in a recording."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._decoder = Decoder(
            lm=None,
            hmm=f"{get_model_path()}/en-us/en-us",
            dict=f"{get_model_path()}/en-us/cmudict-en-us.dict",
            loglevel="FATAL",
            bestpath=False,
            fwdflat=False,
            cmn="batch",
            **_BEAMS,
        )
        self._known: dict[tuple[str, ...], str] = {}

    def align(
        self, wave: npt.NDArray[np.float32], words: list[Word], least_fit: float = -inf
    ) -> list[Phone] | None:
        """Return the phones; None where these words cannot have been said.

        Args:
            wave: 16 kHz, full scale 1.
            words: In the order in which they are said.
            least_fit: Log likelihood per 10 ms. English that fits scores above
                -20, other languages above -35.
        """
        if not words:
            return None
        quiet = round(_QUIET_SECONDS * SAMPLE_RATE)
        padded = np.clip(np.pad(wave, (quiet, quiet)), -1, 1) * 32767
        pcm = padded.astype("<i2").tobytes()
        decoder = self._decoder
        try:
            decoder.set_align_text(" ".join(map(self._name, words)))
            self._hear(pcm)
            if decoder.hyp() is None:
                return None
            decoder.set_alignment()
            self._hear(pcm)
        except RuntimeError:  # no path; the decoder is of no use after that
            self._start()
            return None
        phones, fit = _phones(decoder.get_alignment(), words)
        return phones if fit >= least_fit else None

    def _name(self, word: Word) -> str:
        """Teach the decoder a word; return what it calls it."""
        sounds = tuple(name for phone in word for name in _names(phone))
        if sounds not in self._known:
            self._known[sounds] = f"w{len(self._known)}"
            self._decoder.add_word(self._known[sounds], " ".join(sounds), update=True)
        return self._known[sounds]

    def _hear(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()


def _names(ipa: str) -> list[str]:
    """Return the aligner's names of a phone's parts."""
    letters = "".join(letter for letter in ipa if letter in _NEAREST)
    return [_PAIRS[letters]] if letters in _PAIRS else [_NEAREST[letter] for letter in letters]


def _phones(alignment: object, words: list[Word]) -> tuple[list[Phone], float]:
    phones = []
    likelihood, count = 0, 0
    left = iter(words)

    def phone(start: int, end: int, ipa: str) -> Phone:
        first, last = (max(0.0, n / 100 - _QUIET_SECONDS) for n in (start, end))
        return Phone(first, last, ipa)

    for entry in alignment:
        if entry.name.startswith(("<", "[")):  # a pause, a breath
            phones.append(phone(entry.start, entry.start + entry.duration, ""))
            continue
        sounds = list(entry)
        for ipa in next(left):
            length = len(_names(ipa))
            parts, sounds = sounds[:length], sounds[length:]
            end = parts[-1].start + parts[-1].duration
            phones.append(phone(parts[0].start, end, ipa))
            likelihood += sum(part.score for part in parts)
            count += end - parts[0].start
    return phones, likelihood / max(1, count)


def main() -> None:
    """Print how many rows with closed lips are found, and how many of those found are right."""
    aligner = Aligner()
    for voice in flite.TRAINING_VOICES:
        found = right = true = 0
        for text in TEST_SENTENCES:
            wave, phones = flite.speak(voice, Request(text))
            aligned = aligner.align(wave, words_of(text, "en-us"))
            if aligned is not None:
                is_true, is_found = (
                    CLASS_OF[label(each, wave, find_closures=False).visemes] == CLASSES.index("PP")
                    for each in (phones, aligned)
                )
                true, found = true + is_true.sum(), found + is_found.sum()
                right += (is_true & is_found).sum()
        print(f"{voice}: {right / true:.2f} of closures found, {right / found:.2f} rightly")


if __name__ == "__main__":
    main()
