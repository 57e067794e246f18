"""``avatarpool doctor``: one request, step by step."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from time import perf_counter

from avatarpool.cli.advice import advice
from avatarpool.cli.exit_codes import INTERRUPTED, MISUSED
from avatarpool.cli.findings import Findings, State
from avatarpool.cli.signals import Interruptible
from avatarpool.cli.streams import note
from avatarpool.cli.target import avatar_service
from avatarpool.client.session import AvatarSession
from avatarpool.config import SessionConfig
from avatarpool.environment import read_settings
from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
    ConfigurationError,
    RequestTimeout,
)
from avatarpool.load import load_speech_clip
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.proxies import proxy_for


async def examine(timeout: float, *, is_json: bool = False) -> int:
    """Walk the steps, print each one and return the command's exit code.

    With ``is_json``, one object says the same at the end; notes go to standard error.
    """
    findings = Findings(is_quiet=is_json)
    code = await _examine(findings, timeout)
    if is_json:
        print(json.dumps(findings.to_dict(), indent=2), flush=True)  # noqa: T201
    elif findings.advice is not None:
        note(findings.advice)
    elif code == 0:
        print("Everything works.")  # noqa: T201
    return code


async def _examine(findings: Findings, timeout: float) -> int:
    try:
        with findings.step("environment") as say:
            settings = read_settings()
            say("none set" if settings.is_empty else "all variables set")
        async with Interruptible() as scope, avatar_service(settings) as config_factory:
            await _walk(findings, config_factory(), timeout)
    except ConfigurationError:
        findings.advice = "Set or correct what is named above, or unset all AVATAR_* variables."
        return MISUSED
    except AvatarPoolError as error:
        findings.advice = advice(error)
        return 1
    return INTERRUPTED if scope.was_interrupted else 0


async def _walk(findings: Findings, config: SessionConfig, timeout: float) -> None:
    answer = _Answer()
    config = replace(
        config,
        token_request_timeout=timeout,
        connect_timeout=timeout,
        handshake_timeout=timeout,
        send_timeout=timeout,
        on_playback=answer.add,
        on_error=answer.fail,
    )
    _name_proxy(findings, config)
    session = AvatarSession(config)
    try:
        with findings.step("token") as say:
            await session.init()
            say(config.console_endpoint_url)
        await _connect(findings, session, config)
        with findings.step("request") as say:
            req_id = await session.send_audio(load_speech_clip(), end=True)
            await answer.wait(req_id, timeout)
            say(f"{answer.frames} frames")
    finally:
        await session.close()


def _name_proxy(findings: Findings, config: SessionConfig) -> None:
    """Show which proxy the next steps go through, if they do."""
    try:
        token, connection = (
            proxy_for(url, setting=config.proxy)
            for url in (config.console_endpoint_url, config.ingress_endpoint_url)
        )
    except ConfigurationError as error:
        findings.add("proxy", State.FAILED, None, str(error))
        raise
    if token == connection:
        text = str(token)
    else:
        text = f"token: {token or 'none'}, connection: {connection or 'none'}"
    if token or connection:
        findings.add("proxy", State.OK, None, text)


async def _connect(findings: Findings, session: AvatarSession, config: SessionConfig) -> None:
    """Open the connection, which is two steps to whoever has to repair one of them."""
    started = perf_counter()
    try:
        connection_id = await session.start()
    except AvatarSDKError as error:
        spent_ms = 1000 * (perf_counter() - started)
        if error.phase == "websocket_connect":
            findings.add("connection", State.FAILED, spent_ms, str(error))
        else:
            findings.add("connection", State.OK, None, config.ingress_endpoint_url)
            findings.add("handshake", State.FAILED, spent_ms, str(error))
        raise
    spent_ms = 1000 * (perf_counter() - started)
    findings.add("connection", State.OK, None, config.ingress_endpoint_url)
    findings.add("handshake", State.OK, spent_ms, f"connection_id={connection_id}, time of both")


class _Answer:
    """What comes back for the doctor's one request."""

    def __init__(self) -> None:
        self.frames = 0
        self._error: Exception | None = None
        self._is_over = asyncio.Event()

    def add(self, frame: AnimationFrame) -> None:
        """Take a frame; the last one ends the waiting."""
        self.frames += 1
        if frame.end:
            self._is_over.set()

    def fail(self, error: Exception) -> None:
        """Take an error, which ends the waiting too."""
        if not self._is_over.is_set():
            self._error = error
            self._is_over.set()

    async def wait(self, req_id: str, timeout: float) -> None:
        """Wait for the last frame."""
        try:
            async with asyncio.timeout(timeout):
                await self._is_over.wait()
        except TimeoutError as error:
            raise RequestTimeout(req_id, timeout, self.frames) from error
        if self._error is not None:
            raise self._error
