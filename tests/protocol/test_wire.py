"""The generated code beside the vendors', which register files of one name."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

USE = """
from avatarpool.protocol.codec import decode, encode
from avatarpool.protocol.keyframes import Keyframe, encode_keyframes
from avatarpool.protocol.messages import AnimationFrame

frame = AnimationFrame("r-1", True, encode_keyframes([Keyframe(jaw_pose=(0.5,))]), "c-1", "a")
theirs = {vendor}_pb2.Message.FromString(encode(frame))
read = theirs.server_response_animation
assert (theirs.type, read.req_id, read.end, read.connection_id) == (5, "r-1", True, "c-1")
assert decode(theirs.SerializeToString()) == frame
"""
PB2 = {
    "avatarkit": "avatarkit.proto.generated.message_pb2",
    "spatius": "spatius.proto.generated.message_pb2",
    "spatialreal": "spatialreal.proto.generated.message_pb2",
}


@pytest.mark.parametrize("vendor", PB2)
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours-first", "theirs-first"])
def test_ours_and_a_vendors_code_work_in_one_process(vendor: str, ours_first):
    imports = ["import avatarpool", f"import {PB2[vendor]} as {vendor}_pb2"]
    code = "\n".join([*(imports if ours_first else reversed(imports)), USE.format(vendor=vendor)])
    ran = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_the_generated_code_asks_for_no_runtime_version():
    # Code of newer compilers does, and then refuses runtimes two majors away.
    for name in ("message_pb2.py", "envelope_pb2.py"):
        code = files("avatarpool.protocol.wire").joinpath(name).read_text()
        assert "ValidateProtobufRuntimeVersion" not in code
