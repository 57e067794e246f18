"""The network of `avatarpool.lipsync.network` as PyTorch trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avatarpool.lipsync.features import FEATURES
from avatarpool.lipsync.network import FEATURE_SCALE, STRIDES
from avatarpool.lipsync.visemes import VISEMES

KERNELS = (5, 5, 4)
CHANNELS = (48, 64, 96)
UNITS = 112
DROPOUT = 0.1
_ALL_IS_SPEECH = 8.0


class TrainableNetwork(nn.Module):
    """119,000 parameters, 225 kB as float16."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (FEATURES, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, kernel, stride)
            for a, b, kernel, stride in zip(inputs, CHANNELS, KERNELS, STRIDES, strict=False)
        )
        self.recurrent = nn.GRU(CHANNELS[-1], UNITS, batch_first=True)
        self.output = nn.Linear(UNITS, len(VISEMES) + 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Return each block's log beliefs in the visemes, and its jaw.

        Args:
            blocks: (batch, blocks, 4, `FEATURES`).
        """
        rows = blocks.flatten(1, 2).transpose(1, 2) / FEATURE_SCALE
        for layer, kernel, stride in zip(self.convolutions, KERNELS, STRIDES, strict=True):
            rows = torch.relu(layer(pad(rows, (kernel - stride, 0))))
        states, _ = self.recurrent(self.dropout(rows.transpose(1, 2)))
        outputs = self.output(self.dropout(states))
        return outputs[..., :-1].log_softmax(-1), outputs[..., -1].sigmoid()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the network of a file, to go on with; whether there is speech is left out."""
        network = cls()
        with np.load(path) as data:
            arrays = {name: torch.from_numpy(data[name].astype(np.float32)) for name in data}
        with torch.no_grad():
            for i, layer in enumerate(network.convolutions):
                folded = arrays[f"conv{i}"].unflatten(0, (layer.kernel_size[0], layer.in_channels))
                layer.weight.copy_(folded.permute(2, 1, 0))
                layer.bias.copy_(arrays[f"conv{i}_bias"])
            network.recurrent.weight_ih_l0.copy_(arrays["input"].T)
            network.recurrent.bias_ih_l0.copy_(arrays["input_bias"])
            network.recurrent.weight_hh_l0.copy_(arrays["recurrent"].T)
            network.recurrent.bias_hh_l0.copy_(arrays["recurrent_bias"])
            network.output.weight.copy_(arrays["output"][:, :-1].T)
            network.output.bias.copy_(arrays["output_bias"][:-1])
        return network

    def save(self, path: Path, prior: npt.NDArray[np.float32]) -> None:
        """Write the arrays that `Network` reads, as float16."""
        arrays = {"prior": prior}
        for i, layer in enumerate(self.convolutions):
            arrays[f"conv{i}"] = _numpy(layer.weight.permute(2, 1, 0).flatten(0, 1))
            arrays[f"conv{i}_bias"] = _numpy(layer.bias)
        arrays["input"] = _numpy(self.recurrent.weight_ih_l0.T)
        arrays["input_bias"] = _numpy(self.recurrent.bias_ih_l0)
        arrays["recurrent"] = _numpy(self.recurrent.weight_hh_l0.T)
        arrays["recurrent_bias"] = _numpy(self.recurrent.bias_hh_l0)
        # The last output is for `voice.py`; until then, all is speech.
        arrays["output"] = np.pad(_numpy(self.output.weight.T), ((0, 0), (0, 1)))
        arrays["output_bias"] = np.append(_numpy(self.output.bias), _ALL_IS_SPEECH)
        np.savez_compressed(path, **{name: a.astype(np.float16) for name, a in arrays.items()})


def _numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return array
