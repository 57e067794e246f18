"""``avatarpool service``: the local avatar service until Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import shlex
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack

from avatarpool.cli.signals import Interruptible
from avatarpool.cli.streams import note
from avatarpool.environment import own_api_key
from avatarpool.lipsync import DriverFactory
from avatarpool.service import LocalAvatarService, ServiceLimits


async def serve(
    host: str,
    port: int,
    limits: ServiceLimits,
    driver: DriverFactory,
    *,
    has_admin: bool = False,
) -> int:
    """Serve until a signal comes and return the command's exit code."""
    if not is_loopback(host):
        note(
            f"Warning: {host} is no loopback address: everyone who can reach it can use this "
            "service, and its traffic is not encrypted."
        )
    # From the environment and not an option: everyone can read a command line.
    key = own_api_key()
    service = LocalAvatarService(
        host=host, port=port, limits=limits, api_key=key, driver=driver, has_admin=has_admin
    )
    async with Interruptible(), AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(service)
        except (OSError, UnicodeError) as error:  # as a host's name may be to IDNA
            note(why_not_listening(error, host, port))
            return 1
        try:
            _show(service.environment)
        except OSError as error:
            note(f"The lines to paste cannot be written: {error.strerror or error}.")
            return 1
        if has_admin:
            note(f"Faults are set at {service.admin_url} with the API key as X-Api-Key.")
        note("Paste these lines into another shell. Ctrl-C stops the service.")
        await asyncio.get_running_loop().create_future()
    note("Service stopped.")
    return 0


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _show(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}", flush=True)  # noqa: T201


def why_not_listening(
    error: OSError | UnicodeError, host: str, port: int, option: str = "--port"
) -> str:
    """Say what kept a server from listening, and what to do."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is taken: choose another with {option}; "
            f"{option} 0 takes any free one."
        )
    if code == errno.EACCES:
        return (
            f"Port {port} of {host} is not for this user: choose one from 1024 on with {option}; "
            f"{option} 0 takes any free one."
        )
    if code == errno.EADDRNOTAVAIL or isinstance(error, (socket.gaierror, UnicodeError)):
        return (
            f"{host} is no address of this machine: give --host one that is, "
            "or leave it out for 127.0.0.1."
        )
    why = getattr(error, "strerror", None) or error
    return f"Port {port} of {host} cannot be listened on: {why}."
