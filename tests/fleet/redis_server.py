"""A redis-server of a test's own: in memory, on a port that the kernel chose."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

PATIENCE = 30.0  # seconds until it is there


def require_redis() -> str:
    """Return the server's program; skip where it is not installed."""
    found = shutil.which("redis-server")
    if found is None:
        missing = "redis-server is not installed: apt-get install redis-server"
        (pytest.fail if os.environ.get("REQUIRE_REDIS") else pytest.skip)(missing)
    return found


class RedisServer:
    """One server that a test may kill, stop and start again, always on the same port."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._program = require_redis()
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # found by name
            [
                self._program,
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._directory)),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE
        while True:
            assert self._process.poll() is None, "redis-server has ended"
            with contextlib.suppress(RedisError), self.client() as client:
                if client.ping():
                    return
            assert time.monotonic() < end, "redis-server does not come up"
            time.sleep(0.02)

    def client(self) -> Redis:
        return Redis(port=self.port, socket_timeout=PATIENCE, decode_responses=True)

    def run(self, *command: object) -> object:
        with self.client() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """End it without a farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop it as Ctrl-Z does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Run one for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory), *options)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def free_port() -> int:
    """Return a port that nobody listens on; another process may take it before its use."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
