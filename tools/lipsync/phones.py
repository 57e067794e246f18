"""Phones, and what the mouth does for each: viseme, visible class, openness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatarpool.lipsync.visemes import VISEMES

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


def _alphabet(pairs: str, *, marks: str = "") -> dict[str, str]:
    """Return a voice's phones in IPA: those of the pairs, with and without marks."""
    ipa = dict(pair.split("=") for pair in pairs.split())
    return ipa | {name + mark: letters for name, letters in ipa.items() for mark in marks}


# The phones of flite and of Festival's voices, in IPA; what is missing is a pause.
ARPABET = _alphabet(
    "aa=ɑ ae=æ ah=ʌ ao=ɔ aw=aʊ ax=ə axr=ɚ ay=aɪ b=b ch=tʃ d=d dh=ð dx=ɾ eh=ɛ el=əl em=m "
    "en=n er=ɝ ey=eɪ f=f g=ɡ hh=h hv=h ih=ɪ iy=i jh=dʒ k=k l=l m=m n=n ng=ŋ nx=n ow=oʊ "
    "oy=ɔɪ p=p r=ɹ s=s sh=ʃ t=t th=θ uh=ʊ uw=u v=v w=w y=j z=z zh=ʒ"
)
ITALIAN = _alphabet(
    "i=i e=e E=ɛ a=a o=o O=ɔ u=u j=j w=w p=p t=t k=k b=b d=d g=ɡ f=f s=s S=ʃ v=v z=z Z=ʒ ts=ts "
    "tS=tʃ dz=dz dZ=dʒ m=m n=n J=ɲ ng=ŋ nf=ɱ l=l L=ʎ r=r",
    marks="1",
)
CATALAN = ITALIAN | _alphabet("ax=ə rr=r")
FINNISH = _alphabet(
    "a=ɑ e=e i=i o=o u=u y=y @=æ 7=ø &=ə p=p t=t k=k b=b d=d g=ɡ f=f T=θ D=ð s=s S=ʃ z=z Z=ʒ h=h "
    "v=ʋ m=m n=n N=ŋ l=l L=l r=r j=j w=w",
    marks=":",
)
CZECH = _alphabet(
    "a=a b=b c=ts c~=tʃ ch=x d=d d~=ɟ dz=dz dz~=dʒ e=ɛ f=f g=ɡ h=ɦ i=ɪ j=j k=k l=l m=m n=n n*=ŋ "
    "n~=ɲ o=o p=p r=r r~=ʒ r~*=ʃ s=s s~=ʃ t=t t~=c u=u v=v z=z z~=ʒ",
    marks=":",
)
RUSSIAN = _alphabet(
    "ii=i yy=ɨ uu=u ee=ɛ oo=o aa=a a=ɐ e=e i=ɪ y=ɨ u=u ae=ə ay=ə ur=ʊ p=p pp=p b=b bb=b t=t tt=t "
    "d=d dd=d k=k kk=k g=ɡ gg=ɡ c=ts ch=tʃ f=f ff=f v=v vv=v s=s ss=s z=z zz=z sh=ʂ sch=ɕ zh=ʐ "
    "h=x hh=x m=m mm=m n=n nn=n l=l ll=l r=r rr=r j=j"
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
