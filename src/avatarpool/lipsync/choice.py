"""The driver of a service that was not told of any."""

from __future__ import annotations

import logging
from functools import cache

from avatarpool.lipsync.driver import Driver, DriverFactory
from avatarpool.lipsync.dsp import DspDriver

logger = logging.getLogger("avatarpool.service")


def default_driver(sample_rate: int, seed: int) -> Driver:
    """Make a `ModelDriver` or, where numpy cannot be imported, a `DspDriver`."""
    return load_default_driver()(sample_rate, seed)


@cache
def load_default_driver() -> DriverFactory:
    """Import numpy and read the network: the first call takes a tenth of a second."""
    try:
        from avatarpool.lipsync.model import ModelDriver  # noqa: PLC0415
        from avatarpool.lipsync.network import load_network  # noqa: PLC0415
    except ImportError as error:
        logger.warning("numpy cannot be imported (%s): the driver dsp moves the lips", error)
        return DspDriver
    load_network()
    return ModelDriver
