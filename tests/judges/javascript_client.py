"""The SDK for Node.js under the Python SDKs' interface, so that it judges by the same cases."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from avatarpool.exceptions import AvatarSDKErrorCode

HERE = Path(__file__).with_name("javascript")
PACKAGE = "@spatius/server-sdk"
INSTALL_TIMEOUT = 40.0  # seconds; a test may take 60

FACTS = (
    "phase",
    "http_status",
    "server_code",
    "server_title",
    "server_detail",
    "raw_body",
    "close_code",
    "close_reason",
    "connection_id",
    "req_id",
)


def install(directory: Path) -> str | None:
    """Install the SDK from npm unless it is there; return why it cannot be had, if so."""
    if (directory / "node_modules" / PACKAGE).is_dir():
        return None
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return f"{PACKAGE} judges where there are node and npm"
    shutil.copy(HERE / "package.json", directory)
    command = [npm, "install", "--no-audit", "--no-fund", "--fetch-retries=0", "--loglevel=error"]
    try:
        done = subprocess.run(  # noqa: S603  # npm, by its own path
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install {PACKAGE} within {INSTALL_TIMEOUT:.0f} s"
    if done.returncode == 0:
        return None
    first = next(iter(done.stderr.splitlines()), "").removeprefix("npm error ")
    return f"npm could not install {PACKAGE} ({first[:80]}): it judges where npm can"


class JavaScriptError(Exception):
    """What the SDK threw, with its facts under the Python SDKs' names."""

    code: AvatarSDKErrorCode | None


class JavaScriptClient:
    """Stands for the SDK's module: makes sessions that live in a Node.js process.

    Args:
        directory: Where the SDK is installed.
    """

    AudioFormat = SimpleNamespace(OGG_OPUS="ogg_opus")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.sessions: dict[int, JavaScriptSession] = {}

    @staticmethod
    def LiveKitEgressConfig(**options: Any) -> dict[str, Any]:  # noqa: N802  # the SDKs' name
        return _camel(options)

    AgoraEgressConfig = LiveKitEgressConfig

    def new_avatar_session(self, **options: Any) -> JavaScriptSession:
        session = JavaScriptSession(self, next(self._numbers), options)
        self.sessions[session.number] = session
        return session

    async def prewarm(self, **options: Any) -> SimpleNamespace:
        warmed = await self.call("prewarm", options=_camel(options))
        return SimpleNamespace(session_token_prefetched=warmed["sessionTokenPrefetched"])

    async def call(self, command: str, **parameters: Any) -> Any:
        """Have a command done in the process; raise what it throws."""
        if self._process is None:
            await self._begin()
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": number, "command": command, **parameters})
        self._process.stdin.write(line.encode() + b"\n")
        return await answer

    async def close(self) -> None:
        """End the process."""
        if self._process is None or self._reader is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._reader
        await self._process.wait()

    async def _begin(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "judge.mjs"),
            self._directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=16 * 1024 * 1024,  # of a line
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "event" in message:
                self.sessions[message["session"]].happened(message)
                continue
            answer = self._answers.pop(message["id"])
            if answer.cancelled():
                continue
            if "error" in message:
                answer.set_exception(_error(message["error"]))
            else:
                answer.set_result(message["result"])
        for answer in self._answers.values():
            answer.cancel()


class JavaScriptSession:
    """One session of the SDK."""

    def __init__(self, client: JavaScriptClient, number: int, options: dict[str, Any]) -> None:
        self.number = number
        self._client = client
        self._callbacks = {
            name: options.pop(name) for name in ("transport_frames", "on_error", "on_close")
        }
        self._options = options
        self._is_made = False
        self._session_token = ""
        self._connection = SimpleNamespace(send=self._send_text)

    async def init(self) -> None:
        self._session_token = await self._call("init")

    async def start(self) -> str:
        connection_id: str = await self._call("start", token=self._session_token)
        return connection_id

    async def send_audio(self, audio: bytes, end: bool = False) -> str:
        req_id: str = await self._call("send", audio=base64.b64encode(audio).decode(), end=end)
        return req_id

    async def close(self) -> None:
        await self._call("close")

    def happened(self, event: dict[str, Any]) -> None:
        """Pass an event on to the callbacks."""
        match event["event"]:
            case "frame":
                data = base64.b64decode(event["data"])
                self._callbacks["transport_frames"](data, event["isLast"])
            case "error":
                self._callbacks["on_error"](_error(event["error"]))
            case "close":
                self._callbacks["on_close"]()

    async def _send_text(self, text: str) -> None:
        await self._call("text", text=text)

    async def _call(self, command: str, **parameters: Any) -> Any:
        if not self._is_made:
            self._is_made = True
            await self._client.call("make", session=self.number, options=_camel(self._options))
        return await self._client.call(command, session=self.number, **parameters)


def _camel(options: dict[str, Any]) -> dict[str, Any]:
    """The same options under the names that they have in JavaScript, fit for JSON."""
    return {
        _named(name): value.timestamp() if hasattr(value, "timestamp") else value
        for name, value in options.items()
    }


def _named(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


def _error(facts: dict[str, Any]) -> JavaScriptError:
    error: JavaScriptError = type(facts["type"], (JavaScriptError,), {})(facts["message"])
    for name in FACTS:
        setattr(error, name, facts[_named(name)])
    error.code = facts["code"] and AvatarSDKErrorCode(facts["code"])
    return error
