"""The gateway's tutorial, followed to the letter in as many shells as it has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "gateway.md"
PATIENCE = 60.0

pytestmark = pytest.mark.timeout(300)


class Shell:
    """A shell in the tutorial's folder: what runs until it is stopped, and what ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        names = ("PYTHONPATH", "LANG", "HOME")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        self.environment = {**kept, "PATH": path}
        self.running: list[subprocess.Popen[str]] = []
        self.said = ""  # what the latest one says to standard error

    def start(self, command: str, until: Path) -> subprocess.Popen[str]:
        errors = self._folder / f"errors-{len(self.running)}"
        process = subprocess.Popen(  # noqa: S603  # the tutorial's own
            ["bash", "-c", f"exec {command.strip()} 2> {errors}"],  # noqa: S607  # what the reader has
            cwd=self._folder,
            env=self.environment,
            text=True,
        )
        self.running.append(process)
        end = time.monotonic() + PATIENCE
        while not (until.exists() and "INGRESS" in until.read_text()):
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < end, errors.read_text()
            time.sleep(0.05)
        return process

    def run(self, commands: str) -> str:
        """Run them in this shell; what they export is there for the next ones."""
        done = subprocess.run(  # noqa: S603  # the tutorial's own
            ["bash", "-euc", f"{commands}\nenv -0 > .environment"],  # noqa: S607
            cwd=self._folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        pairs = (self._folder / ".environment").read_text().split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return done.stdout

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            process.wait(PATIENCE)


def test_the_tutorial_works_as_it_is_written(tmp_path: Path):
    blocks = re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    demo, load, upload, client, service, check, gateway, shop, change = blocks
    # Ports of their own: a reader's machine has nothing else on these.
    free = "--port 0 --ingress-port 0"
    servers, user = Shell(tmp_path), Shell(tmp_path)
    try:
        demo = demo.replace("avatarpool gateway", f"avatarpool gateway {free}")
        first = servers.start(demo, tmp_path / "client.env")
        assert "Total requests served: 10" in user.run(load)
        end = json.loads(user.run(upload))
        assert end == {"type": "end", "records": 75}
        first.terminate()
        assert first.wait(PATIENCE) == 0

        servers.run(client)
        servers.start(service.replace("8899", "0"), tmp_path / "upstream.env")
        in_force = servers.run(check)
        assert '"shop"' in in_force
        assert 'app_id = "local-app"' in in_force
        process = servers.start(
            gateway.replace("--config", f"{free} --config"), tmp_path / "shop.env"
        )
        report = user.run(shop)
        assert "connection pool with 4 connections" in report  # or four would not be there at once
        assert "Total requests served: 4" in report
        change = change.replace("\"$(pgrep -f 'avatarpool gateway --config')\"", str(process.pid))
        user.run(change)
        end = time.monotonic() + PATIENCE
        errors = tmp_path / f"errors-{len(servers.running) - 1}"
        while "took over clients.shop" not in errors.read_text():
            assert time.monotonic() < end, errors.read_text()
            time.sleep(0.05)
    finally:
        servers.stop()
