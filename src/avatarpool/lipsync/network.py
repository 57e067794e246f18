"""The network: convolutions over 10 ms rows, a recurrent layer over keyframes.

========= ========================================= ====================
layer     from, per block of 40 ms                  to
========= ========================================= ====================
conv 0    4 rows of features, 5 at a time           4 rows, rectified
conv 1    5 rows at a time, every other             2 rows, rectified
conv 2    4 rows at a time, every other             1 row, rectified
gru       that row, and its own last state          its new state
output    the state                                 15 visemes, the jaw, speech
========= ========================================= ====================

Nothing looks ahead: that a keyframe is decided `LATE_BLOCKS` later is what
training asked for.

Blocks are seen together, as many as there are; as in `features`, matrix products
are stacked, so what is seen does not depend on how many they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from avatarpool.lipsync.features import FEATURES, ROWS_PER_BLOCK, Rows
from avatarpool.lipsync.visemes import VISEMES

Weights = npt.NDArray[np.float32]

STRIDES = (1, 2, 2)
FEATURE_SCALE = 3.0
# The outputs after those of the visemes.
_JAW = len(VISEMES)
_SPEECH = _JAW + 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network makes of successive keyframes.

    Attributes:
        visemes: (keyframes, 15): its belief in each of `VISEMES`; they sum to 1.
        jaw: (keyframes,): how open the jaw is, 0 to 1.
        speech: (keyframes,): log odds of speech against laughter, music and breath.
    """

    visemes: Rows
    jaw: Rows
    speech: Rows


class Convolution:
    """Rows to fewer rows, and what it must remember of the rows before.

    Args:
        weights: (kernel * inputs, outputs).
        bias: (outputs,).
        inputs: Values in a row.
        rows: New rows in a block.
        stride: Rows from one result to the next.
    """

    def __init__(
        self, weights: Weights, bias: Weights, inputs: int, rows: int, stride: int
    ) -> None:
        kernel = weights.shape[0] // inputs
        self.remembered = (kernel - stride, inputs)
        self._weights, self._bias = weights, bias
        self._rows, self._stride = rows, stride

    def apply(self, rows: Rows, before: Rows) -> tuple[Rows, Rows]:
        """Return the results, and what to remember until the next rows."""
        known = np.concatenate((before, rows))
        size, outputs = self._weights.shape
        blocks, results_per_block = len(rows) // self._rows, self._rows // self._stride
        step = self._stride * known.strides[0]
        # Windows overlap: a view of `known`, which BLAS wants as an array of its own.
        windows = np.ndarray(
            (blocks, results_per_block, size),
            known.dtype,
            known,
            0,
            (results_per_block * step, step, known.itemsize),
        ).copy()
        results = (windows @ self._weights).reshape(-1, outputs)
        results += self._bias
        return np.maximum(results, 0.0, out=results), known[len(rows) :].copy()


@dataclass(slots=True)
class Memory:
    """What one request's hearing remembers; 10 kB."""

    rows: list[Rows]
    state: Rows


class Network:
    """The weights, shared by all requests.

    Args:
        arrays: As `tools/lipsync/train.py` writes them: ``prior``, ``conv0`` to
            ``conv2``, ``input`` and ``recurrent`` (reset, update and new gate
            side by side), ``output``, and the ``_bias`` of each.
    """

    def __init__(self, arrays: dict[str, npt.NDArray[np.float16]]) -> None:
        w = {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in arrays.items()}
        self.prior = w["prior"]
        self._convolutions = []
        inputs, rows = FEATURES, ROWS_PER_BLOCK
        for i, stride in enumerate(STRIDES):
            weights, bias = w[f"conv{i}"], w[f"conv{i}_bias"]
            self._convolutions.append(Convolution(weights, bias, inputs, rows, stride))
            inputs, rows = weights.shape[1], rows // stride
        self._units = n = w["recurrent"].shape[0]
        # The sigmoid of both gates is that of a tangent: of half of what is given.
        for name in ("input", "input_bias", "recurrent", "recurrent_bias"):
            w[name][..., : 2 * n] *= np.float32(0.5)
        self._input, self._input_bias = w["input"], w["input_bias"]
        self._recurrent, self._recurrent_bias = w["recurrent"], w["recurrent_bias"]
        self._output, self._output_bias = w["output"], w["output_bias"]

    def new_memory(self) -> Memory:
        """Return what a request has heard at its beginning: nothing."""
        rows = [np.zeros(layer.remembered, np.float32) for layer in self._convolutions]
        return Memory(rows, np.zeros(self._units, np.float32))

    def see(self, features: Rows, memory: Memory) -> Seen:
        """Take some blocks' features; return what their keyframes show.

        Args:
            features: (4 * blocks, `FEATURES`), from a `Normaliser`.
            memory: The request's; it is changed.
        """
        return self.read(self.follow(features, memory))

    def follow(self, features: Rows, memory: Memory) -> Rows:
        """Return the recurrent layer's state in each block; arguments as of `see`."""
        rows = features / np.float32(FEATURE_SCALE)
        for i, layer in enumerate(self._convolutions):
            rows, memory.rows[i] = layer.apply(rows, memory.rows[i])
        return self._recur(rows, memory)

    def read(self, states: Rows) -> Seen:
        """Return what is seen in these states."""
        output = (states[:, None] @ self._output)[:, 0] + self._output_bias
        visemes = output[:, :_JAW]
        visemes = np.exp(visemes - np.maximum.reduce(visemes, axis=1, keepdims=True))
        visemes /= np.add.reduce(visemes, axis=1, keepdims=True)
        return Seen(visemes, _sigmoid_of_twice(output[:, _JAW] * _HALF), output[:, _SPEECH])

    def _recur(self, rows: Rows, memory: Memory) -> Rows:
        """Return the states of the gated recurrent unit (Cho et al., 2014), one a row."""
        n = self._units
        given = (rows[:, None] @ self._input)[:, 0] + self._input_bias
        states = np.empty((len(rows), n), np.float32)
        state = memory.state
        for i in range(len(rows)):
            kept = state @ self._recurrent
            kept += self._recurrent_bias
            gates = _sigmoid_of_twice(given[i, : 2 * n] + kept[: 2 * n])
            new = np.tanh(given[i, 2 * n :] + gates[:n] * kept[2 * n :])
            state = np.add(new, gates[n:] * (state - new), out=states[i])
        memory.state = state.copy()
        return states


_HALF = np.float32(0.5)


def _sigmoid_of_twice(values: Rows) -> Rows:
    half: Rows = np.tanh(values)
    half *= _HALF
    half += _HALF
    return half


@cache
def load_network() -> Network:
    """Read the packaged network, once.

    Raises:
        OSError: It cannot be read.
    """
    path = files("avatarpool.lipsync").joinpath("visemes.npz")
    with path.open("rb") as file, np.load(file) as arrays:
        return Network(dict(arrays))
