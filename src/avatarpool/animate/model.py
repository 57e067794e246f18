"""A glTF model in one file (GLB), and which of its morph targets speech moves.

Own code, as the libraries that write glTF make the file anew and drop what they do not
know of it, while a GLB is a header and two chunks: the model stays as it is, and the
animation is put behind it. https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avatarpool.blendshapes import ARKIT, VISEMES
from avatarpool.exceptions import ConfigurationError

HEADER = struct.Struct("<4sII")
CHUNK = struct.Struct("<II")
JSON_CHUNK, BIN_CHUNK = 0x4E4F534A, 0x004E4942

_MOST_BYTES = 512 * 1024 * 1024
_MOST_TARGETS = 10_000  # of all meshes: more is no face
_SHOWN_NAMES = 8

_SPELLINGS = {"ih": ("ih", "I"), "oh": ("oh", "O"), "ou": ("ou", "U")}


@dataclass(frozen=True, slots=True)
class Target:
    """A node whose mesh has morph targets that speech moves.

    Attributes:
        node: Its number.
        rest: The weights of all its targets where nothing moves them.
        names: For each target the ARKit name or the viseme that moves it, or nothing.
    """

    node: int
    rest: tuple[float, ...]
    names: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that speech can move.

    Attributes:
        document: Its JSON.
        binary: Its binary chunk.
        targets: What speech moves.
        is_visemes: Whether it is by visemes; else by ARKit's names.
        digest: Of the whole file.
    """

    document: dict[str, Any] = field(repr=False)
    binary: bytes = field(repr=False)
    targets: Sequence[Target]
    is_visemes: bool
    digest: bytes


def read_model(path: Path) -> Model:
    """Read a model and find its morph targets by their names.

    Names are ARKit's, whatever their case, with or without underscores or a prefix that
    ends with a dot, and with L and R for Left and Right; if none of the mouth is there,
    the visemes' as ``viseme_aa``.

    Raises:
        ConfigurationError: It is no such model; the names that were found are told.
        OSError: It cannot be read.
    """
    what = f"model {str(path)!r} cannot be animated"
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        document, binary = _chunks(data)
        nodes = _nodes(document)
        targets, is_visemes = _targets(nodes)
    except ValueError as error:
        raise ConfigurationError(what, [str(error)]) from error
    return Model(document, binary, targets, is_visemes, hashlib.sha256(data).digest())


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Take a GLB apart.

    Raises:
        ValueError: It is none.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    if data[:4] != b"glTF" or len(data) < HEADER.size:
        raise ValueError("it is no GLB: export the model as glTF binary, in one file")
    _, version, length = HEADER.unpack_from(data)
    if version != 2:
        raise ValueError(f"it is glTF {version}: export it as glTF 2.0")
    if length > len(data):
        raise ValueError(f"it is cut short: {len(data)} of {length} bytes are there")
    chunks: list[tuple[int, bytes]] = []
    place = HEADER.size
    while place + CHUNK.size <= length and len(chunks) < 2:
        size, kind = CHUNK.unpack_from(data, place)
        place += CHUNK.size
        if place + size > length:
            raise ValueError(f"it is damaged: a chunk of {size} bytes goes beyond its end")
        chunks.append((kind, data[place : place + size]))
        place += size
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise ValueError("it is damaged: its JSON is not where it must be")
    try:
        document = json.loads(chunks[0][1])
        # As deep as can be read may be too deep to be written, and NaN is no JSON.
        json.dumps(document, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is damaged: its JSON cannot be read") from error
    match document:
        case {"asset": {}}:
            _check(document)
        case _:
            raise ValueError("it is damaged: its JSON has no asset")
    binary = chunks[1][1] if len(chunks) == 2 and chunks[1][0] == BIN_CHUNK else b""
    return document, binary


def _check(document: dict[str, Any]) -> None:
    """See that whatever the animation is put behind is as it must be.

    Raises:
        ValueError: Something is not.
    """
    lists = ("nodes", "meshes", "buffers", "bufferViews", "accessors", "animations")
    for name in lists:
        values = document.setdefault(name, [])
        if not (isinstance(values, list) and all(isinstance(value, dict) for value in values)):
            raise ValueError(f"it is damaged: {name} are no list of objects")
    asset = document["asset"]
    if not isinstance(asset.setdefault("extras", {}), dict):
        asset["extras"] = {"original": asset["extras"]}
    buffers = document["buffers"]
    if buffers and "uri" in buffers[0]:
        raise ValueError("its data is in other files: export the model as one GLB")


def _nodes(document: Mapping[str, Any]) -> list[tuple[int, tuple[float, ...], list[str]]]:
    """Return each node with morph targets: its number, their weights at rest, their names.

    Raises:
        ValueError: There is none, or the targets have no names.
    """
    found = []
    total = 0
    for number, node in enumerate(document["nodes"]):
        index = node.get("mesh")
        if not isinstance(index, int) or not 0 <= index < len(document["meshes"]):
            continue
        mesh = document["meshes"][index]
        match mesh:
            case {"primitives": [{"targets": [_, *_] as targets}, *_]}:
                count = len(targets)
            case _:
                continue
        total += count
        if total > _MOST_TARGETS:
            raise ValueError(f"it has more than {_MOST_TARGETS} morph targets")
        found.append((number, _rest(node, mesh, count), _names(mesh, count)))
    if not found:
        raise ValueError("no node of it has a mesh with morph targets (shape keys)")
    return found


def _rest(node: Mapping[str, Any], mesh: Mapping[str, Any], count: int) -> tuple[float, ...]:
    for weights in (node.get("weights"), mesh.get("weights")):
        match weights:
            case [*values] if len(values) == count and all(
                isinstance(value, int | float) and abs(value) < 1e6 for value in values
            ):
                return tuple(map(float, values))
    return (0.0,) * count


def _names(mesh: Mapping[str, Any], count: int) -> list[str]:
    """The names of a mesh's targets, which by convention are in its extras."""
    for place in (mesh, mesh["primitives"][0]):
        match place:
            case {"extras": {"targetNames": [*names]}} if len(names) == count:
                return [str(name) for name in names]
    return [""] * count


def _targets(
    nodes: Sequence[tuple[int, tuple[float, ...], list[str]]],
) -> tuple[list[Target], bool]:
    """Find what moves which target.

    Raises:
        ValueError: Nothing moves any.
    """
    is_face = any(
        (_ARKIT.get(_plain(name)) or "").startswith(("mouth", "jaw"))
        for _, _, names in nodes
        for name in names
    )
    # With both for the mouth, it would be moved twice.
    known = _ARKIT if is_face else {**_ARKIT, **_VISEMES}
    targets = [
        Target(number, rest, tuple(known.get(_plain(name)) for name in names))
        for number, rest, names in nodes
    ]
    moved = [target for target in targets if any(target.names)]
    if not moved:
        found = [name for _, _, names in nodes for name in names if name]
        if not found:
            raise ValueError("its morph targets have no names: export them with the model")
        shown = ", ".join(f"{name!r:.40}" for name in found[:_SHOWN_NAMES])
        more = f" and {len(found) - _SHOWN_NAMES} more" if len(found) > _SHOWN_NAMES else ""
        raise ValueError(
            f"its morph targets are {shown}{more}: name them as ARKit does (jawOpen, "
            "eyeBlinkLeft...), or as visemes (viseme_aa, viseme_PP...)"
        )
    return moved, any(name in VISEMES for target in moved for name in target.names)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name[:200].rpartition(".")[2].lower())


def _spellings() -> dict[str, str]:
    spellings = {}
    for name in ARKIT:
        spellings[name.lower()] = name
        # Of mouthLeft and jawLeft, which go to one side, there is no short form.
        for side in ("Left", "Right"):
            stem = name.removesuffix(side)
            if stem not in (name, "mouth", "jaw"):
                spellings[stem.lower() + side[0].lower()] = name
    return spellings


_ARKIT = _spellings()
_VISEMES = {
    f"viseme{spelling}".lower(): viseme
    for viseme in VISEMES
    for spelling in _SPELLINGS.get(viseme, (viseme,))
}
