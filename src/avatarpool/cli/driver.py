"""Which driver ``avatarpool service --driver`` means."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from avatarpool.cli.options import DriverName
from avatarpool.exceptions import ConfigurationError
from avatarpool.lipsync import (
    DriverFactory,
    DspDriver,
    VisemeDriver,
    default_driver,
    read_timeline,
)

_BOTH = "give --driver visemes --timeline FILE"


def driver_factory(name: DriverName, timeline: Path | None) -> DriverFactory:
    """Return what makes the driver of each request.

    Raises:
        ConfigurationError: The timeline is missing, unwanted, or cannot be used.
    """
    if (name is DriverName.VISEMES) != (timeline is not None):
        raise ConfigurationError("a timeline needs --driver visemes, and that a timeline", [_BOTH])
    if timeline is not None:
        try:
            timed = read_timeline(timeline.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigurationError(f"{timeline} is no timeline", [str(error)]) from error
        return partial(VisemeDriver, timed)
    return DspDriver if name is DriverName.DSP else default_driver
