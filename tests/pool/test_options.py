"""What a pool is made from is refused where it is given, and all that is wrong at once."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields, replace
from math import nan
from typing import Any

import pytest
from clock import virtually
from scripted import Script, hold, new_pool, no_options

from avatarpool import AvatarConnectionPool, ConfigurationError, PoolEvent
from avatarpool.pool import PoolOptions


def test_a_lifetime_that_holds_no_request_is_refused():
    with pytest.raises(ConfigurationError, match="raise session_ttl_minutes"):
        new_pool(Script(), session_ttl_minutes=0.5)
    with pytest.raises(ConfigurationError) as caught:
        new_pool(Script(), session_ttl_minutes=2000.0, num_workers=0)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_limits_that_cannot_be_kept_are_all_named(wrong: float):
    limits = {
        "timeout": wrong,
        "request_timeout": wrong,
        "first_frame_timeout": wrong,
        "frame_gap_timeout": wrong,
        "max_waiting": wrong,
        "max_lifetime": wrong,
        "max_idle": wrong,
        "quarantine_timeout": wrong,
        "reconnect_timeout": wrong,
        "leak_warning": wrong,
    }
    with pytest.raises(ConfigurationError) as caught:
        new_pool(Script(), **limits)
    for name in limits:
        assert f"{name} {wrong} is negative or no number" in caught.value.problems


def test_a_pool_without_a_config_factory_is_refused():
    with pytest.raises(ConfigurationError, match="config_factory is missing"):
        AvatarConnectionPool(3)


@virtually
async def test_a_size_that_is_no_whole_number_is_told():
    with pytest.raises(ConfigurationError, match=r"pool_size 2\.5 is no whole number"):
        new_pool(Script(), 2.5)  # type: ignore[arg-type]


def test_a_lifetime_that_its_jitter_may_cut_below_a_request_is_refused():
    with pytest.raises(ConfigurationError, match="less 10 %"):
        new_pool(Script(), max_lifetime=49.0)


@pytest.mark.parametrize("wrong", ["3", 2.5, nan, [], b"1"], ids=repr)
@pytest.mark.parametrize(
    "name", ["pool_size", "min_size", "max_size", "num_workers", "max_waiting"]
)
def test_a_number_of_things_is_a_whole_number(name: str, wrong: Any):
    options = {"pool_size": 3, "config_factory": no_options, name: wrong}
    with pytest.raises(ConfigurationError, match=f"{name} .* is no whole number"):
        AvatarConnectionPool(**options)


@pytest.mark.parametrize("wrong", ["5", nan, b"1", -1.0], ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        "session_ttl_minutes",
        "timeout",
        "request_timeout",
        "first_frame_timeout",
        "frame_gap_timeout",
        "max_frames",
        "max_frame_bytes",
        "max_lifetime",
        "max_idle",
        "quarantine_timeout",
        "reconnect_timeout",
        "leak_warning",
    ],
)
def test_a_limit_is_a_number_and_not_negative(name: str, wrong: Any):
    with pytest.raises(ConfigurationError, match=f"{name} .* is negative or no number"):
        AvatarConnectionPool(config_factory=no_options, **{name: wrong})


@pytest.mark.parametrize(
    "name",
    ["config_factory", "configure", "check", "reset", "reconnect_failed", "session_factory"],
)
def test_what_is_to_be_called_can_be(name: str):
    with pytest.raises(ConfigurationError, match=f"{name} 'it' cannot be called"):
        AvatarConnectionPool(**{"config_factory": no_options, name: "it"})


def test_all_that_is_wrong_is_told_at_once():
    wrong: Any = {"pool_size": "3", "timeout": "5", "check": "it", "num_workers": 0.5}
    with pytest.raises(ConfigurationError) as caught:
        AvatarConnectionPool(config_factory=no_options, **wrong)
    for name in wrong:
        assert name in str(caught.value)


def test_a_size_that_cannot_be_is_told_with_all_else_that_contradicts_itself():
    with pytest.raises(ConfigurationError) as caught:
        AvatarConnectionPool(min_size=-1, max_size=0, num_workers=0, name="eu")
    assert str(caught.value) == (
        "pool 'eu' cannot work: num_workers 0 is not at least 1; min_size -1 is negative; "
        "max_size 0 is not at least 1; config_factory is missing"
    )


@virtually
async def test_a_pool_can_be_made_from_options():
    told: list[PoolEvent] = []
    options = PoolOptions(
        config_factory=no_options,
        session_factory=Script(),
        min_size=1,
        max_size=2,
        timeout=3.0,
        on_event=told.append,
        name="eu",
    )
    async with AvatarConnectionPool.from_options(options) as pool:
        assert repr(pool) == "<AvatarConnectionPool 'eu' 1 idle, 0 lent, 0 waiting>"
        assert (pool.min_size, pool.max_size, pool.timeout) == (1, 2, 3.0)
        assert await hold(pool, 0.0) == "scripted-0"
    assert {event.pool for event in told} == {"eu"}


def test_options_are_those_of_a_pool_under_the_same_names_with_the_same_defaults():
    taken = inspect.signature(AvatarConnectionPool).parameters
    given = {field.name: field for field in fields(PoolOptions)}
    assert list(given) == list(taken)
    for name in taken.keys() - {"config_factory", "name"}:
        assert given[name].default == taken[name].default
    first, second = (PoolOptions(config_factory=no_options) for _ in range(2))
    assert first.name != second.name


def test_options_do_not_change_and_are_checked_anew_with_each_replacement():
    options = PoolOptions(config_factory=no_options, name="eu")
    with pytest.raises(FrozenInstanceError):
        options.timeout = 1.0  # type: ignore[misc]
    assert replace(options, name="us").name == "us"
    with pytest.raises(ConfigurationError, match=r"pool 'eu' cannot work: timeout -1\.0"):
        replace(options, timeout=-1.0)


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({}, (3, 3)),
        ({"pool_size": 5}, (5, 5)),
        ({"pool_size": 2, "max_size": 7}, (2, 7)),
        ({"pool_size": 5, "max_size": 2}, (2, 2)),
        ({"min_size": 4}, (4, 4)),
        ({"min_size": 0}, (0, 3)),
        ({"min_size": 1, "max_size": 9, "pool_size": 4}, (1, 9)),
    ],
)
def test_pool_size_stands_for_whichever_bound_is_not_given(
    given: dict[str, Any], sizes: tuple[int, int]
):
    options = PoolOptions(config_factory=no_options, **given)
    assert (options.smallest_size, options.largest_size) == sizes
