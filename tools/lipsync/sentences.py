"""What the synthesisers say: fixed sentences for tests, random ones for training."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Never in training: phonetically balanced sentences (IEEE, 1969), and what
# people and assistants say to each other.
TEST_SENTENCES = tuple(
    Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
)

_WORD_LISTS = {
    "en-us": "american-english",
    "en-gb": "british-english",
    "de": "ngerman",
    "fr": "french",
    "es": "spanish",
    "it": "italian",
    "pt": "portuguese",
    "pl": "polish",
    "nl": "dutch",
    "ca": "catalan",
}
_FOLDER = Path("/usr/share/dict")
_LONGEST_WORD = 11
# Consonants and vowels of languages without a list of words: these are made up.
_SYLLABLES = {
    "fi": ("p t k m n l r s h j v pp tt kk mm nn ll mp nt nk lt", "a e i o u y aa ee ii uu"),
    "cs": ("p b m t d k g n l r s z v f h j c ch pr br tr kr pl bl st sp sk", "a e i o u"),
}
MADE_UP_LANGUAGES = tuple(_SYLLABLES)
_FREQUENT = (
    "the a of to and in you it that is was for on with be this have we are not can will do what "
    "my your me him time people make from by up them some maybe remember become problem"
).split()


@dataclass(frozen=True, slots=True)
class Request:
    """A sentence, and how it is said.

    Attributes:
        stretch: How much longer it lasts.
        pitch: How much higher it is.
        size: How much longer the vocal tract is than the voice's own: the sound
            is played slower, which pitch and stretch make up for.
    """

    text: str
    stretch: float = 1.0
    pitch: float = 1.0
    size: float = 1.0


def random_sentence(language: str, source: random.Random) -> str:
    """Return words in any order; numbers where there is no list of words."""
    if language not in _WORD_LISTS:
        return ", ".join(str(source.randint(1, 9999)) for _ in range(5)) + "."
    said = []
    for _ in range(source.randint(4, 10)):
        is_frequent = language.startswith("en") and source.random() < 0.4
        word = source.choice(_FREQUENT if is_frequent else _words(language))
        said.append(word + "," if source.random() < 0.12 else word)
    return " ".join(said) + source.choice("..?!")


def made_up_sentence(language: str, source: random.Random) -> str:
    """Return words of one of `MADE_UP_LANGUAGES` that mean nothing."""
    consonants, vowels = (letters.split() for letters in _SYLLABLES[language])
    words = (
        "".join(
            source.choice(consonants) + source.choice(vowels) for _ in range(source.randint(1, 4))
        )
        for _ in range(source.randint(4, 9))
    )
    return " ".join(words) + "."


@cache
def _words(language: str) -> list[str]:
    data = (_FOLDER / _WORD_LISTS[language]).read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return [
        word
        for word in text.split()
        if word.isalpha()
        and 1 < len(word) <= _LONGEST_WORD
        and (word.islower() or language == "de")
    ]
