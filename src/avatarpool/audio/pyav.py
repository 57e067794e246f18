"""PyAV, which is FFmpeg as a library: the extra ``audio``."""

from __future__ import annotations

import importlib
from types import ModuleType

from avatarpool.exceptions import ConfigurationError


def import_av(what: str) -> ModuleType:
    """Return PyAV.

    Args:
        what: What there is to say without it.

    Raises:
        ConfigurationError: It is not installed.
    """
    # By name and late: importing PyAV takes 100 ms and most sessions need none.
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ConfigurationError(
            what, ["install avatarpool[audio], or PyAV alone (pip install av)"]
        ) from error
