"""``avatarpool fleet``: who has the sessions of an account that is kept in Redis."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from avatarpool.cli.screen import terminal
from avatarpool.cli.signals import Interruptible
from avatarpool.exceptions import PoolError
from avatarpool.fleet.leases import Call, Notice
from avatarpool.fleet.leasing import open_store

if TYPE_CHECKING:
    from avatarpool.fleet.valkey import Account, Store

_REFRESH = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What the command line says.

    Attributes:
        name: The account's.
        sessions: What it allows from now on, if that changes.
        init: Whether nobody has sessions open, so that leases may be given at once.
        json: Whether to print it as JSON, once.
    """

    name: str
    sessions: int | None
    init: bool
    json: bool


async def fleet(url: str, options: FleetOptions) -> int:
    """Change what is to be changed, show how things stand, return the exit code.

    Raises:
        ConfigurationError: The URL cannot work.
        PoolError: Redis cannot be reached or used.
    """
    store = open_store(url, options.name)
    try:
        if options.init or options.sessions is not None:
            notice = Notice.INIT if options.init else None
            await store.call("", Call(resize=options.sessions, notice=notice), 0)
        account = await store.look()
        console = terminal()
        if options.json:
            print(json.dumps(asdict(account), indent=2))  # noqa: T201
        elif console is None or options.init or options.sessions is not None:
            Console().print(_shown(account, options.name))
        else:
            await _watch(store, account, console, options.name)
    finally:
        await store.disconnect()
    return 0


async def _watch(store: Store, account: Account, console: Console, name: str) -> None:
    """Show it until Ctrl-C; Redis may go and come meanwhile."""
    async with Interruptible():
        with Live(_shown(account, name), console=console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(_REFRESH)
                trouble = None
                try:
                    account = await store.look()
                except PoolError as error:
                    trouble = str(error)
                live.update(_shown(account, name, trouble), refresh=True)


def _shown(account: Account, name: str, trouble: str | None = None) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("holder", overflow="fold")
    for title in ("leases", "sessions", "needs", ""):
        table.add_column(title, justify="left" if not title else "right")
    for each in account.holders:
        table.add_row(
            Text(each.name),
            str(each.leases),
            str(each.used),
            str(each.needs),
            Text("waits" if each.waits else ""),
        )
    parts: list[RenderableType] = [Text(_sentence(account, name))]
    if account.holders:
        parts.append(table)
    if trouble is not None:
        parts.append(Text(trouble, style="red"))
    return Group(*parts)


def _sentence(account: Account, name: str) -> str:
    if account.sessions is None:
        return f"{name}: nobody has said yet how many sessions the account allows"
    text = f"{name}: {account.leases} of {account.sessions} sessions leased"
    if account.ceiling is not None:
        text += f"; the service allowed no more than {account.ceiling}"
    if account.closed_for > 0.0:
        text += f"; no new leases for {account.closed_for:.0f} s, until all have registered"
    return text
