"""What a driver costs: processor time per second of speech, and memory per request.

    python benchmarks/lipsync.py

The time is that of hearing, mapping and serialising, on one core, with audio
that comes in pieces of 40 ms as from a microphone, and of 160 ms as the service
works off a clip that was sent at once.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable
from importlib.resources import files

from avatarpool.audio import read_audio
from avatarpool.lipsync import Driver, DriverFactory, DspDriver
from avatarpool.lipsync.model import ModelDriver
from avatarpool.protocol.keyframes import encode_keyframes
from avatarpool.protocol.settings import PCM_SAMPLE_RATES

DRIVERS: dict[str, DriverFactory] = {"model": ModelDriver, "dsp": DspDriver}


def animate(driver: Driver, clip: bytes, piece: int) -> int:
    """Feed the clip in pieces; return the bytes that would be sent."""
    size = 0
    for start in range(0, len(clip), piece):
        for keyframe in driver.feed(clip[start : start + piece]):
            size += len(encode_keyframes((keyframe,)))
    return size + sum(len(encode_keyframes((keyframe,))) for keyframe in driver.finish())


def real_time_factor(
    make: DriverFactory, clip: bytes, sample_rate: int, piece_ms: int, repeat: int
) -> float:
    """Return processor seconds per second of audio, the best of some tries."""
    piece = 2 * (sample_rate * piece_ms // 1000)
    times = []
    for _ in range(repeat):
        began = time.process_time()
        animate(make(sample_rate, 0), clip, piece)
        times.append(time.process_time() - began)
    return min(times) * 2 * sample_rate / len(clip)


def state_bytes(make: Callable[[], Driver], clip: bytes, piece: int, count: int = 50) -> float:
    """Return what each of many requests in the middle of their audio keeps."""
    half = clip[: len(clip) // 2 // piece * piece]
    kept = []
    for _ in range(count + 1):  # the first also makes what all share
        if len(kept) == 1:
            gc.collect()
            tracemalloc.start()
        driver = make()
        for start in range(0, len(half), piece):
            driver.feed(half[start : start + piece])
        kept.append(driver)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / count


def main() -> None:
    """Print a line for each driver and sample rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(f"{'driver':8}{'rate':>8}{'40 ms pieces':>16}{'160 ms pieces':>16}{'state':>10}")
    for name, make in DRIVERS.items():
        for rate in PCM_SAMPLE_RATES:
            clip = read_audio(str(files("avatarpool") / "assets" / "speech.wav"), sample_rate=rate)
            factors = [
                real_time_factor(make, clip, rate, piece_ms, options.repeat)
                for piece_ms in (40, 160)
            ]
            piece = 2 * (rate * 160 // 1000)
            kilobytes = state_bytes(lambda m=make, r=rate: m(r, 0), clip, piece) / 1000
            print(f"{name:8}{rate:8}{factors[0]:16.4f}{factors[1]:16.4f}{kilobytes:7.1f} kB")


if __name__ == "__main__":
    main()
