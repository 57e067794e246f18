"""From speech to keyframes; no asyncio in here."""

from avatarpool.service.lipsync.choice import default_driver, load_default_driver
from avatarpool.service.lipsync.driver import Driver, DriverFactory
from avatarpool.service.lipsync.dsp import DspDriver
from avatarpool.service.lipsync.echo import EchoDriver
from avatarpool.service.lipsync.timeline import TimedViseme, VisemeDriver, read_timeline
from avatarpool.service.lipsync.visemes import VISEMES

__all__ = [
    "VISEMES",
    "Driver",
    "DriverFactory",
    "DspDriver",
    "EchoDriver",
    "TimedViseme",
    "VisemeDriver",
    "default_driver",
    "load_default_driver",
    "read_timeline",
]
