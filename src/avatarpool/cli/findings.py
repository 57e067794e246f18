"""What ``avatarpool doctor`` finds: the steps to an answer, as lines or as one object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from time import perf_counter

from avatarpool.exceptions import AvatarPoolError

STEPS = ("environment", "token", "connection", "handshake", "request")
"""Those that there always are, in their order."""


class State(str, Enum):
    """How a step went."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class Finding:
    """One step.

    Attributes:
        step: Its name.
        state: How it went.
        spent_ms: How long it took, if that was measured by itself.
        text: What it has to say: where it went to, or why it failed.
    """

    step: str
    state: State
    spent_ms: float | None = None
    text: str = ""

    def __str__(self) -> str:
        spent = "" if self.spent_ms is None else f"{self.spent_ms:.1f} ms"
        return f"{self.step:<12} {self.state.value:<7} {spent:>11}  {self.text}"


class Findings:
    """The steps so far.

    Args:
        is_quiet: Print none of them as it comes.

    Attributes:
        advice: What to do about the one that failed.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        self.advice: str | None = None
        self._is_quiet = is_quiet
        self._found: list[Finding] = []

    def add(self, step: str, state: State, spent_ms: float | None, text: str) -> None:
        """Take a step, and print its line."""
        self._found.append(Finding(step, state, spent_ms, text))
        if not self._is_quiet:
            print(self._found[-1], flush=True)  # noqa: T201

    @contextmanager
    def step(self, name: str) -> Iterator[Words]:
        """Time a step and take it, however it ends."""
        started = perf_counter()
        words = Words()
        try:
            yield words
        except AvatarPoolError as error:
            self.add(name, State.FAILED, 1000 * (perf_counter() - started), str(error))
            raise
        self.add(name, State.OK, 1000 * (perf_counter() - started), words.text)

    def to_dict(self) -> dict[str, object]:
        """Return every step, those too that were not reached, in values that JSON takes."""
        reached = {finding.step for finding in self._found}
        left = [Finding(step, State.NOT_REACHED) for step in STEPS if step not in reached]
        return {
            "works": all(finding.state is State.OK for finding in [*self._found, *left]),
            "steps": [
                {
                    "step": finding.step,
                    "state": finding.state.value.lower(),
                    "ms": None if finding.spent_ms is None else round(finding.spent_ms, 3),
                    "message": finding.text,
                    "what_to_do": self.advice if finding.state is State.FAILED else None,
                }
                for finding in [*self._found, *left]
            ],
        }


class Words:
    """What a step says of itself when it went well."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        """Say it."""
        self.text = text
