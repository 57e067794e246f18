"""Festival's voices: speech of recorded people, and when each phone ends."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flite import read_wave, resized
from labels import Phone, Said
from phones import ARPABET, CATALAN, CZECH, FINNISH, ITALIAN, RUSSIAN
from sentences import Request


@dataclass(frozen=True, slots=True)
class Voice:
    """Festival's name of a voice, what it reads, and its phones in IPA."""

    name: str
    language: str
    ipa: dict[str, str]


VOICES = {
    "ked": Voice("ked_diphone", "en-us", ARPABET),
    "lp": Voice("lp_diphone", "it", ITALIAN),
    "pc": Voice("pc_diphone", "it", ITALIAN),
    "lj": Voice("suo_fi_lj_diphone", "fi", FINNISH),
    "mv": Voice("hy_fi_mv_diphone", "fi", FINNISH),
    "dita": Voice("czech_dita", "cs", CZECH),
    "krb": Voice("czech_krb", "cs", CZECH),
    "machac": Voice("czech_machac", "cs", CZECH),
    "ph": Voice("czech_ph", "cs", CZECH),
    "ona": Voice("upc_ca_ona_hts", "ca", CATALAN),
}
_RECORDINGS = Path("/usr/share/festival/voices/russian/msu_ru_nsh_clunits")

# Speech and its times are stretched, and its pitch raised, between what Festival
# decides of a sentence and the making of its sound.
_SCRIPT = """
(voice_{voice})
(define (say text file stretch pitch)
  (set! after_analysis_hooks (list (lambda (utt)
    (mapcar
      (lambda (s) (item.set_feat s "end" (* stretch (item.feat s "end"))))
      (utt.relation.items utt 'Segment))
    (if (member 'Target (utt.relationnames utt))
      (mapcar
        (lambda (t)
          (item.set_feat t "f0" (* pitch (item.feat t "f0")))
          (item.set_feat t "pos" (* stretch (item.feat t "pos"))))
        (utt.relation.leafs utt 'Target)))
    utt)))
  (let ((utt (utt.synth (eval (list 'Utterance 'Text text))))
        (out (fopen (string-append file ".txt") "w")))
    (utt.save.wave utt (string-append file ".wav") 'riff)
    (mapcar
      (lambda (s) (format out "%s %f\\n" (item.name s) (item.feat s "end")))
      (utt.relation.items utt 'Segment))
    (fclose out)))
"""


def speak(voice: Voice, requests: Sequence[Request]) -> Iterator[Said]:
    """Yield how a voice says each of the sentences, which are ASCII."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [_SCRIPT.format(voice=voice.name)]
        for i, r in enumerate(requests):
            numbers = f"{r.stretch / r.size:.3f} {r.pitch * r.size:.3f}"
            lines.append(f'(say "{r.text}" "{folder}/{i}" {numbers})')
        script = Path(folder) / "script.scm"
        script.write_text("\n".join(lines), encoding="ascii")
        subprocess.run(["festival", "-b", str(script)], capture_output=True, check=True)  # noqa: S603
        for i, request in enumerate(requests):
            said = (Path(folder) / f"{i}.txt").read_text(encoding="ascii")
            phones = []
            start = 0.0
            for line in said.splitlines():
                name, end = line.split()
                phones.append(Phone(start, float(end) * request.size, voice.ipa.get(name, "")))
                start = phones[-1].end
            yield resized(*read_wave(Path(folder) / f"{i}.wav"), request.size), phones


def recordings() -> Iterator[Said]:
    """Yield what the Russian voice was made of: its speaker's recordings, with times."""
    for path in sorted((_RECORDINGS / "lab").glob("*.lab")):
        phones = []
        start = 0.0
        for line in path.read_text(encoding="ascii").splitlines():
            words = line.split()
            if len(words) == 3:
                phones.append(Phone(start, float(words[0]), RUSSIAN.get(words[2], "")))
                start = phones[-1].end
        yield resized(*read_wave(_RECORDINGS / "wav" / f"{path.stem}.wav"), 1.0), phones
