"""An animation as glTF: a model whose morph targets move with the speech."""

from __future__ import annotations

import json
from array import array
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from avatarpool.animate.animation import Animation, Tick
from avatarpool.animate.model import BIN_CHUNK, CHUNK, HEADER, JSON_CHUNK, Model
from avatarpool.blendshapes import Basis, arkit, visemes

_FLOAT = 5126  # glTF's number for it
_MOST_BYTES = 2**32 - 1  # that a GLB's header can say
_MOST_WEIGHTS = 2**27  # of all keyframes: half a gigabyte, and 28 hours of an ARKit face


def write_glb(
    animation: Animation, file: BinaryIO, tick: Tick, model: Model, basis: Basis | None = None
) -> None:
    """Write the model with one animation more, ``speech``, which moves its morph targets.

    Targets that nothing is known of stay as they are at rest.

    Raises:
        OSError: It would be larger than a GLB can be.
    """
    times, tracks = _tracks(animation, tick, model, basis)
    document: dict[str, Any] = {
        name: list(value) if isinstance(value, list) else value
        for name, value in model.document.items()
    }
    binary = bytearray(model.binary)
    source = _accessor(document, binary, times, {"min": [times[0]], "max": [times[-1]]})
    samplers = [
        {"input": source, "interpolation": "LINEAR", "output": _accessor(document, binary, track)}
        for track in tracks
    ]
    channels = [
        {"sampler": number, "target": {"node": target.node, "path": "weights"}}
        for number, target in enumerate(model.targets)
    ]
    document["animations"].append({"name": "speech", "channels": channels, "samplers": samplers})
    first, *others = document["buffers"] or [{}]
    document["buffers"] = [{**first, "byteLength": len(binary)}, *others]
    extras = {"source": animation.mark} if animation.mark else {}
    # The asset first, and the mark first in it: so that it is near the file's beginning.
    asset = document.pop("asset")
    asset = {"extras": extras | asset["extras"] | extras} | {
        name: value for name, value in asset.items() if name != "extras"
    }
    _write(file, {"asset": asset} | document, bytes(binary))


def _tracks(
    animation: Animation, tick: Tick, model: Model, basis: Basis | None
) -> tuple[list[float], list[npt.NDArray[np.float32]]]:
    """Return the keyframes' times, and the weights of each target's node, keyframe by keyframe."""
    times: list[float] = []
    tracks = [array("f") for _ in model.targets]
    for keyframe in animation.keyframes():
        weights = arkit(keyframe, basis)
        if model.is_visemes:
            weights |= visemes(keyframe, basis)
        for track, target in zip(tracks, model.targets, strict=True):
            track.extend(
                rest if name is None else weights.get(name, rest)
                for name, rest in zip(target.names, target.rest, strict=True)
            )
        times.append(keyframe.time)
        if sum(map(len, tracks)) > _MOST_WEIGHTS:
            raise OSError(f"the animated model would have more than {_MOST_WEIGHTS} weights")
        tick()
    return times, [np.array(track, np.float32) for track in tracks]


def _accessor(
    document: dict[str, Any],
    binary: bytearray,
    values: npt.ArrayLike,
    bounds: dict[str, list[float]] | None = None,
) -> int:
    """Put values behind the binary data and return the number of what describes them."""
    data = np.asarray(values, "<f4")
    binary += bytes(-len(binary) % 4)
    view = {"buffer": 0, "byteOffset": len(binary), "byteLength": data.nbytes}
    binary += data.tobytes()
    document["bufferViews"].append(view)
    accessor = {
        "bufferView": len(document["bufferViews"]) - 1,
        "componentType": _FLOAT,
        "count": data.size,
        "type": "SCALAR",
    }
    if bounds:  # as the reader sees them: of a float's precision
        accessor |= {name: [float(np.float32(bound[0]))] for name, bound in bounds.items()}
    document["accessors"].append(accessor)
    return len(document["accessors"]) - 1


def _write(file: BinaryIO, document: dict[str, Any], binary: bytes) -> None:
    document = {name: value for name, value in document.items() if value != []}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    total = HEADER.size + 2 * CHUNK.size + len(text) + len(binary)
    if total > _MOST_BYTES:
        raise OSError(f"the animated model would have {total} bytes, more than a GLB can have")
    file.write(HEADER.pack(b"glTF", 2, total))
    file.write(CHUNK.pack(len(text), JSON_CHUNK) + text)
    file.write(CHUNK.pack(len(binary), BIN_CHUNK) + binary)
