"""The driver of a service that was not told of any."""

from __future__ import annotations

from functools import cache

from avatarpool.lipsync.driver import Driver, DriverFactory


def default_driver(sample_rate: int, seed: int) -> Driver:
    """Make a `ModelDriver`."""
    return load_default_driver()(sample_rate, seed)


@cache
def load_default_driver() -> DriverFactory:
    """Import numpy and read the network: the first call takes a tenth of a second."""
    from avatarpool.lipsync.model import ModelDriver  # noqa: PLC0415
    from avatarpool.lipsync.network import load_network  # noqa: PLC0415

    load_network()
    return ModelDriver
