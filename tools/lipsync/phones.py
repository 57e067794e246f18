"""Phones, and what the mouth does for each: viseme, visible class, openness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatarpool.service.lipsync.visemes import VISEMES

# Visemes that look the same to a viewer, as nine classes.
CLASSES = ("sil", "PP", "FF", "tongue", "SS/CH", "aa", "E/ih", "oh", "ou/RR")
_CLASS_OF = {
    "sil": 0,
    "PP": 1,
    "FF": 2,
    "TH": 3,
    "DD": 3,
    "kk": 3,
    "nn": 3,
    "CH": 4,
    "SS": 4,
    "aa": 5,
    "E": 6,
    "ih": 6,
    "oh": 7,
    "ou": 8,
    "RR": 8,
}
CLASS_OF = np.array([_CLASS_OF[name] for name in VISEMES])


@dataclass(frozen=True, slots=True)
class Sight:
    """How a phone looks: its viseme's index, and how open the jaw is, 0 to 1."""

    viseme: int
    openness: float


SILENT = Sight(0, 0.0)

# Viseme, openness, IPA letters.
_TABLE = (
    ("PP", 0.00, "p b m"),
    ("FF", 0.08, "f v ɱ ʋ β ɸ"),
    ("TH", 0.20, "θ ð"),
    ("DD", 0.15, "t d ʈ ɖ ɾ ʔ"),
    ("kk", 0.20, "k ɡ g q x ɣ χ c ɟ ç ʝ ħ ɢ"),
    ("CH", 0.12, "ʃ ʒ ɕ ʑ ʂ ʐ"),
    ("SS", 0.08, "s z"),
    ("nn", 0.20, "n l ɲ ʎ ɫ ŋ ɳ ɭ"),
    ("RR", 0.25, "ɹ r ʁ ɚ ɝ ɜ ɽ ɻ"),
    ("aa", 0.90, "a ɑ ɐ"),
    ("aa", 0.85, "æ"),
    ("aa", 0.65, "ʌ"),
    ("E", 0.60, "ɛ"),
    ("E", 0.45, "e"),
    ("E", 0.40, "ə ɘ ɤ"),
    ("ih", 0.32, "ɪ"),
    ("ih", 0.22, "i j ɨ ᵻ"),
    ("oh", 0.50, "o ɵ œ"),
    ("oh", 0.40, "ø"),
    ("oh", 0.70, "ɔ ɒ"),
    ("ou", 0.25, "u w y ʉ ɯ ɥ ɰ"),
    ("ou", 0.32, "ʊ ʏ"),
)
_SIGHTS = {
    letter: Sight(VISEMES.index(name), openness)
    for name, openness, letters in _TABLE
    for letter in letters.split()
}
SCHWA = _SIGHTS["ə"]
_BREATH = "hɦ"
_TONGUE_TIP, _HUSHES = VISEMES.index("DD"), (VISEMES.index("CH"), VISEMES.index("SS"))

# The stops whose closure is silent, in which a synthesiser's clock says little.
VOICELESS_STOPS = frozenset("ptkcqʈ")

# flite's phones, in IPA.
ARPABET = dict(
    pair.split("=")
    for pair in (
        "aa=ɑ ae=æ ah=ʌ ao=ɔ aw=aʊ ax=ə axr=ɚ ay=aɪ b=b ch=tʃ d=d dh=ð dx=ɾ eh=ɛ el=əl em=m "
        "en=n er=ɝ ey=eɪ f=f g=ɡ hh=h hv=h ih=ɪ iy=i jh=dʒ k=k l=l m=m n=n ng=ŋ nx=n ow=oʊ "
        "oy=ɔɪ p=p r=ɹ s=s sh=ʃ t=t th=θ uh=ʊ uw=u v=v w=w y=j z=z zh=ʒ"
    ).split()
)


def sights(ipa: str) -> list[Sight | None]:
    """Return how a phone looks, part after part; None where it looks like the next."""
    parts = [
        None if letter in _BREATH else _SIGHTS[letter]
        for letter in ipa
        if letter in _BREATH or letter in _SIGHTS
    ]
    match parts:
        # An affricate is seen as its fricative.
        case [Sight(viseme=first), Sight(viseme=second) as hush] if (
            first == _TONGUE_TIP and second in _HUSHES
        ):
            return [hush]
    return parts
