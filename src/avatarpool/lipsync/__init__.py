"""From speech to keyframes; no asyncio in here."""

from avatarpool.lipsync.choice import default_driver, load_default_driver
from avatarpool.lipsync.driver import Driver, DriverFactory
from avatarpool.lipsync.dsp import DspDriver
from avatarpool.lipsync.echo import EchoDriver
from avatarpool.lipsync.timeline import TimedViseme, VisemeDriver, read_timeline
from avatarpool.lipsync.visemes import VISEMES

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
