"""A short run of each target; and the fuzzer finds what there is."""

from __future__ import annotations

from random import Random

import fuzz
import pytest
from faulty import FAULTY, is_due
from targets import TARGETS


@pytest.mark.parametrize(("name", "count"), [("codec", 5000), ("opus", 1000), ("audio", 600)])
def test_strangers_bytes_raise_what_is_documented_and_cost_what_is_bounded(name, count):
    target = TARGETS[name]
    for number in range(1, count):
        pieces = target.make(Random(f"0/{number}"))
        try:
            target.run(pieces)
        except Exception as error:
            error.add_note(f"input {number} of seed 0: {pieces}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_a_run_ends_in_its_time(name):
    count, finding = fuzz.fuzz(TARGETS[name], 1, 0.5)
    assert finding is None
    assert count > 0


@pytest.mark.parametrize(
    ("name", "why", "too_long"),
    [
        ("raises", "KeyError", 20.0),
        ("loops", "took over 1 s", 1.0),
        ("sleeps", "slept for 2 s", 0.2),
        ("dies", "ended it (-6)", 20.0),
        ("hoards", "MB", 20.0),
    ],
)
def test_what_fails_is_found_and_can_be_run_again(name, why, too_long, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "TOO_LONG", too_long)
    # A process that was large once, as one is that has run other tests: its child is judged alone.
    assert len(b"large" * 100_000_000)
    count, finding = fuzz.fuzz(FAULTY[name], 1, 30.0)
    assert count == finding.number
    assert why in finding.why
    assert is_due(finding.pieces)

    path = tmp_path / "new" / "finding.txt"
    fuzz.save(finding, name, path)
    if name == "raises":
        with pytest.raises(KeyError) as caught:
            fuzz.again(path, FAULTY)
        assert list(caught.value.args) == finding.pieces
