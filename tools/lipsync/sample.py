"""Cut the labelled sentences of the package's own tests from the test sets.

python tools/lipsync/sample.py build/lipsync tests/lipsync/labelled_speech.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import corpus
import numpy as np
from flite import HELD_OUT_VOICES
from sentences import TEST_SENTENCES

SENTENCE = "Please open the settings menu and press the blue button."


def main() -> None:
    """Write one sentence by an unseen voice of each synthesiser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where corpus.py wrote the sets")
    parser.add_argument("file", type=Path, help="the file to write")
    options = parser.parse_args()
    number = TEST_SENTENCES.index(SENTENCE)
    said = (
        corpus.read(options.folder / "test-voices.npz")[number],
        corpus.read(options.folder / "test-flite.npz")[number * len(HELD_OUT_VOICES)],
    )
    arrays = {}
    for name, utterance in zip(("espeak", "flite"), said, strict=True):
        arrays[f"{name}_pcm"] = utterance.pcm
        arrays[f"{name}_visemes"] = utterance.labels.visemes
        arrays[f"{name}_openness"] = utterance.labels.openness.astype(np.float16)
    np.savez_compressed(options.file, **arrays)


if __name__ == "__main__":
    main()
