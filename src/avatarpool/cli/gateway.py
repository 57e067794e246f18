"""``avatarpool gateway``: the gateway until a signal, and its settings anew at a SIGHUP."""

from __future__ import annotations

import asyncio
import gc
import os
import shlex
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avatarpool.blendshapes import LOCAL
from avatarpool.cli.exit_codes import INTERRUPTED, MISUSED
from avatarpool.cli.loop import run_in_loop
from avatarpool.cli.service import why_not_listening
from avatarpool.cli.signals import Interruptible
from avatarpool.cli.streams import drop_output, note
from avatarpool.cli.supervisor import tell_supervisor
from avatarpool.exceptions import AvatarPoolError, ConfigurationError
from avatarpool.gateway.changes import changed, taken_over
from avatarpool.gateway.contradictions import contradictions, warnings
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.keys import key_hash, new_key
from avatarpool.gateway.reading import read_settings
from avatarpool.gateway.settings import NEEDED, ClientSettings, GatewaySettings, Listen, Upstream
from avatarpool.gateway.showing import in_force
from avatarpool.service import LocalAvatarService

Reader = Callable[[], GatewaySettings]

_DEMO = "demo"

_FILES = 65536  # as the systemd unit has it


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What the command line says.

    Attributes:
        config: The file of settings, if there is one.
        listen: What goes before its section of that name.
    """

    config: Path | None
    listen: Mapping[str, object]

    @property
    def has_upstream(self) -> bool:
        """Whether anything says what the account is."""
        named = (os.environ.get(f"AVATAR_{key.upper()}", "").strip() for key in NEEDED)
        return self.config is not None or any(named)


def run(options: GatewayOptions, *, is_check: bool) -> int:
    """Check the settings or serve with them, and return the command's exit code."""
    if options.config is not None and not is_check and hasattr(signal, "SIGHUP"):
        # It would end the process; what is changed until now is read anyway.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    local_upstream = not options.has_upstream
    read = partial(
        read_settings, options.config, listen=options.listen, local_upstream=local_upstream
    )
    try:
        settings = read()
    except ConfigurationError as error:
        for problem in error.problems:
            note(problem)
        return MISUSED
    for warning in warnings(settings):
        note(f"Warning: {warning}")
    if is_check:
        print(in_force(settings), flush=True)  # noqa: T201
        return 0
    again = read if options.config is not None else None
    return run_in_loop(serve(settings, local_upstream=local_upstream, read_again=again))


async def serve(
    settings: GatewaySettings, *, local_upstream: bool, read_again: Reader | None = None
) -> int:
    """Serve until a signal comes and return the command's exit code.

    Args:
        settings: As they were read.
        local_upstream: Start a local service, and have that for upstream.
        read_again: Reads them once more, at a SIGHUP; None leaves that signal alone.

    Raises:
        AvatarPoolError: The gateway cannot start.
    """
    open_more_files()
    demo = _Demo()
    avatar_id = os.environ.get("AVATAR_SESSION_AVATAR_ID", "").strip()
    is_serving = False
    async with Interruptible() as cut, AsyncExitStack() as stack:
        if local_upstream:
            service = await stack.enter_async_context(LocalAvatarService())
            settings = settings.model_copy(update={"upstream": _upstream_of(service)})
            avatar_id = service.avatar_ids[0]
        if not settings.clients:
            note(_nobody_else(is_local=local_upstream))
        gateway = Gateway(demo.invited(settings), basis=LOCAL if local_upstream else None)
        reload = _Reload(gateway, demo, settings, read_again)
        stack.enter_context(reload.at_hangup())
        try:
            await stack.enter_async_context(gateway)
        except AvatarPoolError:
            raise
        except (OSError, UnicodeError) as error:  # as a host's name may be to IDNA
            note(_why_not_listening(error, settings.listen))
            return 1
        try:
            _show(gateway, settings, demo, avatar_id)
        except OSError as error:
            note(f"The lines for clients cannot be written: {error.strerror or error}.")
            drop_output()
            return 1
        keep_out_of_collections()
        is_serving = True
        async with Interruptible():
            note("Clients use these lines. Ctrl-C stops the gateway.")
            reload.begin()
            tell_supervisor("READY=1")
            await asyncio.get_running_loop().create_future()
        timeout = settings.listen.shutdown_timeout
        note(f"Requests under way have {timeout:g} s; another Ctrl-C cuts them off.")
        await stack.aclose()
    if cut.was_interrupted and is_serving:
        note("Gateway cut off.")
        return INTERRUPTED
    note("Gateway stopped.")
    return 0


def open_more_files() -> None:
    """Have as many files as this process may give itself: each client needs one.

    The usual limit, 1024, is for programs that cannot do with more: those that call ``select()``.
    """
    try:
        import resource  # noqa: PLC0415
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    with suppress(OSError, ValueError):  # as of a system whose own limit is another
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def keep_out_of_collections() -> None:
    """Have the garbage collector look no more at what is there, which stays until the end.

    That is all that was imported: a full collection takes tens of milliseconds for it, in which no
    frame is passed on.
    """
    gc.collect()
    gc.freeze()


def _upstream_of(service: LocalAvatarService) -> Upstream:
    named = service.environment
    return Upstream.model_validate({key: named[f"AVATAR_{key.upper()}"] for key in NEEDED})


def _nobody_else(*, is_local: bool) -> str:
    if is_local:
        return (
            f'Nothing is configured: a local avatar service is the upstream, and "{_DEMO}" '
            "the one client."
        )
    return f'No clients are configured: "{_DEMO}" is the one client, with a new key.'


class _Demo:
    """The client that there is where none is configured, with a key of its own."""

    def __init__(self) -> None:
        self.key = new_key()

    def invited(self, settings: GatewaySettings) -> GatewaySettings:
        """Return the settings with the client, if they have no other."""
        if settings.clients:
            return settings
        demo = ClientSettings(
            name=_DEMO, app_id=_DEMO, key_hash=key_hash(self.key), limits=settings.defaults
        )
        return settings.model_copy(update={"clients": (demo,)})


def _show(gateway: Gateway, settings: GatewaySettings, demo: _Demo, avatar_id: str) -> None:
    """Print what a client sets, in lines that a shell takes."""
    client = demo.invited(settings).clients[0]
    warm = (each.avatar for each in settings.pools.warm)
    avatar_ids = filter(None, (avatar_id, *client.limits.avatars, *warm))
    lines = {
        "AVATAR_API_KEY": None if settings.clients else demo.key,
        "AVATAR_APP_ID": client.app_id,
        "AVATAR_CONSOLE_ENDPOINT": gateway.console_url,
        "AVATAR_INGRESS_ENDPOINT": gateway.ingress_url,
        "AVATAR_SESSION_AVATAR_ID": next(avatar_ids, None),
    }
    elsewhere = {
        "AVATAR_API_KEY": f'the key of "{client.name}", which `avatarpool gateway hash-key` gave',
        "AVATAR_SESSION_AVATAR_ID": "an avatar of the account",
    }
    for name, value in lines.items():
        if value is None:
            print(f"# {name}: {elsewhere[name]}", flush=True)  # noqa: T201
        else:
            print(f"export {name}={shlex.quote(value)}", flush=True)  # noqa: T201
    print(f"# Page: {gateway.page_url}", flush=True)  # noqa: T201


def _why_not_listening(error: OSError | UnicodeError, listen: Listen) -> str:
    # asyncio's words name the address that it could not have.
    if f", {listen.ingress_port})" in str(error):
        return why_not_listening(error, listen.host, listen.ingress_port, "--ingress-port")
    return why_not_listening(error, listen.host, listen.port)


class _Reload:
    """Takes over at a SIGHUP what can be, and says what cannot.

    Args:
        gateway: Whose settings change.
        demo: Invited where the new ones have no clients either.
        settings: What is in force, as it was read.
        read_again: Reads anew; None where there is nothing to read.
    """

    def __init__(
        self, gateway: Gateway, demo: _Demo, settings: GatewaySettings, read_again: Reader | None
    ) -> None:
        self._gateway = gateway
        self._demo = demo
        self._settings = settings
        self._read_again = read_again
        self._has_begun = False
        self._is_due = False  # once it has

    def begin(self) -> None:
        """Take over what a signal at the start has asked for, and others from now on."""
        self._has_begun = True
        if self._is_due and self._read_again is not None:
            self._read(self._read_again)

    @contextmanager
    def at_hangup(self) -> Iterator[None]:
        """Do so within this block."""
        if self._read_again is None or not hasattr(signal, "SIGHUP"):
            yield
            return
        loop, read_anew = asyncio.get_running_loop(), partial(self._read, self._read_again)
        previous = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(read_anew))
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, previous)

    def _read(self, read_again: Reader) -> None:
        if not self._has_begun:
            self._is_due = True
            return
        try:
            new = read_again()
            changes = changed(self._settings, new)
            settings = taken_over(self._settings, new)
            _check(settings)
            self._gateway.reload(self._demo.invited(settings))
        except AvatarPoolError as error:
            problems = error.problems if isinstance(error, ConfigurationError) else [error]
            for problem in problems:
                note(str(problem))
            note("Settings read again: nothing was changed.")
            return
        self._settings = settings
        told = [f"took over {', '.join(changes.reloadable)}"] if changes.reloadable else []
        if changes.needs_restart:
            told.append(f"a restart is needed for {', '.join(changes.needs_restart)}")
        note(f"Settings read again: {'; '.join(told) or 'nothing has changed'}.")


def _check(settings: GatewaySettings) -> None:
    """Refuse what is new beside what stays until a restart, if they contradict each other."""
    found = [f"{each.name} {each.text} (before a restart)" for each in contradictions(settings)]
    if found:
        raise ConfigurationError("the gateway's settings cannot be taken over", found)
