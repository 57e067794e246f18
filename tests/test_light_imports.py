"""What an import loads, each in a process of its own."""

import subprocess
import sys

import pytest

import avatarpool

SERVICE_AND_LIPS = {"avatarpool.service", "avatarpool.endpoint", "avatarpool.lipsync"}
COMMAND_LINE = {"typer", "click", "rich", "pydantic", "pydantic_settings"}
HEAVY = SERVICE_AND_LIPS | COMMAND_LINE | {"numpy", "aiohttp.web"}
LIBRARIES = {"asyncio", "aiohttp", "picows", "google.protobuf", "ssl"}


def loaded_by(code):
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("code", ["import avatarpool", "import avatarpool.protocol"])
def test_the_package_itself_loads_no_library(code):
    assert loaded_by(code).isdisjoint(HEAVY | LIBRARIES)


def test_the_pool_loads_no_service_and_no_lips():
    loaded = loaded_by("from avatarpool import AvatarConnectionPool, AvatarSession, SessionConfig")
    assert "avatarpool.pool" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_one_keyframe_for_another_face_needs_no_numpy():
    loaded = loaded_by(
        "from avatarpool.blendshapes import *\n"
        "from avatarpool import Keyframe\n"
        "visemes(Keyframe(), LOCAL), vrm(idle(1, 0.0), LOCAL), arkit(Keyframe())"
    )
    assert "avatarpool.blendshapes" in loaded
    assert loaded.isdisjoint(HEAVY | LIBRARIES - {"google.protobuf"})


def test_a_fleet_loads_redis_when_there_is_a_budget_in_it():
    assert "redis" not in loaded_by("from avatarpool import AvatarPoolGroup, RedisBudget")
    made = "from avatarpool import RedisBudget; RedisBudget('redis://h', name='a', sessions=1)"
    assert "redis" in loaded_by(made)


def test_the_protocol_alone_needs_protobuf_and_no_socket():
    loaded = loaded_by("import avatarpool.protocol.codec, avatarpool.protocol.frames")
    assert "google.protobuf" in loaded
    assert loaded.isdisjoint(HEAVY | LIBRARIES - {"google.protobuf"})


def test_the_local_service_comes_when_it_is_asked_for():
    assert "avatarpool.service" in loaded_by("import avatarpool; avatarpool.LocalAvatarService")


def test_every_public_name_is_there_and_listed():
    names = loaded_by("from avatarpool import *; print(*globals())")
    assert set(avatarpool.__all__) <= names
    assert set(avatarpool.__all__) <= set(dir(avatarpool))


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'avatarpool' has no attribute 'Avatar'"):
        _ = avatarpool.Avatar
