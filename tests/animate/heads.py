"""Models with morph targets, made by hand as GLB; and what is read from one."""

import json
import struct

import numpy as np


def glb(document, binary=b""):
    """Put a GLB together."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    if binary:
        chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def head(names, **mesh):
    """A triangle with a morph target of each name."""
    corners = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    moved = struct.pack("<9f", 0, 0, 0, 0, -1, 0, 0, 0, 0)
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
    document = {
        "asset": {"version": "2.0", "generator": "a hand"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "head", "mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0}, "targets": [{"POSITION": 1}] * len(names)}
                ],
                "extras": {"targetNames": list(names)},
                **mesh,
            }
        ],
        "buffers": [{"byteLength": 72}],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 36},
        ],
        "accessors": [
            {**accessor, "min": [0, 0, 0], "max": [1, 1, 0]},
            {**accessor, "bufferView": 1, "min": [0, -1, 0], "max": [0, 0, 0]},
        ],
    }
    return glb(document, corners + moved)


def document_of(data):
    """Read a GLB's JSON and its binary chunk."""
    size, kind = struct.unpack_from("<II", data, 12)
    assert kind == 0x4E4F534A
    place = 20 + size
    length, kind = struct.unpack_from("<II", data, place)
    assert kind == 0x004E4942
    assert place + 8 + length == len(data) == struct.unpack_from("<I", data, 8)[0]
    return json.loads(data[20:place]), data[place + 8 :]


def track_of(data):
    """Read the last animation: its times, and the weights keyframe by keyframe."""
    document, binary = document_of(data)

    def values(number):
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        return np.frombuffer(binary, "<f4", accessor["count"], view["byteOffset"])

    animation = document["animations"][-1]
    (channel,) = animation["channels"]
    assert channel["target"] == {"node": 0, "path": "weights"}
    sampler = animation["samplers"][channel["sampler"]]
    times, weights = values(sampler["input"]), values(sampler["output"])
    return times, weights.reshape(len(times), -1)
