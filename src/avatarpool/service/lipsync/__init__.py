"""From speech to keyframes; no asyncio in here, and no numpy."""

from avatarpool.service.lipsync.driver import Driver, DriverFactory
from avatarpool.service.lipsync.dsp import DspDriver
from avatarpool.service.lipsync.echo import EchoDriver

__all__ = ["Driver", "DriverFactory", "DspDriver", "EchoDriver"]
