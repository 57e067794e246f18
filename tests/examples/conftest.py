"""The examples as modules, each under a name of its own, and as processes."""

import asyncio
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

VARIABLES = (
    "AVATAR_API_KEY",
    "AVATAR_APP_ID",
    "AVATAR_CONSOLE_ENDPOINT",
    "AVATAR_INGRESS_ENDPOINT",
    "AVATAR_SESSION_AVATAR_ID",
    "AVATAR_USE_QUERY_AUTH",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def load_example(monkeypatch):
    def load(name):
        spec = importlib.util.spec_from_file_location(
            f"example_{name}", EXAMPLES / name / "main.py"
        )
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def speech():
    return EXAMPLES.parent.joinpath("src/avatarpool/assets/speech.wav").read_bytes()


class Program:
    """An example that runs as its README starts it, on a port that the kernel chose."""

    def __init__(self, process, port):
        self.port = port
        self._process = process
        self.stderr = ""

    async def stop(self):
        """Press Ctrl-C; return the exit code and have what it wrote."""
        self._process.send_signal(signal.SIGINT)
        _, rest = await asyncio.to_thread(self._process.communicate)
        self.stderr += rest
        return self._process.returncode


@pytest.fixture
async def start_program(original, tmp_path):
    started = []

    async def start(name, **environment):
        source = (EXAMPLES / name / "main.py").read_text(encoding="utf-8")
        script = tmp_path / "main.py"
        script.write_text(source.replace(", 8080\n", ", 0\n"), encoding="utf-8")
        process = original.start(
            str(script),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        # aiohttp says where it listens on stdout, uvicorn on stderr, which is read to its end.
        stream = process.stderr if name == "fastapi_service" else process.stdout
        seen = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", seen)):
            line = await asyncio.to_thread(stream.readline)
            assert line, seen
            seen += line
        return Program(process, int(found[1]))

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()
