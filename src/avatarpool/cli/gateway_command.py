"""The commands ``avatarpool gateway`` and ``avatarpool gateway hash-key``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avatarpool.cli.env_file import EnvFile
from avatarpool.cli.help import Commands
from avatarpool.cli.options import not_empty
from avatarpool.cli.streams import note

app = typer.Typer(name="gateway", cls=Commands, rich_markup_mode=None)

_KEY_CHARACTERS = (16, 4096)  # a shorter one is found by trying


def _host(value: str | None) -> str | None:
    return value if value is None else not_empty(value)


@app.callback(invoke_without_command=True)
def gateway(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Settings, in TOML."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            callback=_host,
            show_default="the file's, or 127.0.0.1",
            help="Address to listen on.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            show_default="the file's, or 8780",
            help="Port of console, HTTP API and page; 0 is any free one.",
        ),
    ] = None,
    ingress_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            show_default="the file's, or 8781",
            help="Port of the SDKs' WebSocket; 0 is any free one.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print the settings in force, without secrets, and end."),
    ] = False,
    _env_file: EnvFile = None,
) -> None:
    """Share one account's sessions among clients of any language, until Ctrl-C.

    Clients keep their official SDK and point its two URLs here. The lines that it
    prints to standard output say where; notes go to standard error. With nothing
    configured, its upstream is a local service, and it has one client, "demo".

    SIGHUP reads the file again: clients and some more are taken over at once, and it
    says what needs a restart. Ctrl-C or SIGTERM lets requests under way finish, a
    second one cuts them off. Exits 0, 2 if the settings cannot work, and 130 after a
    second Ctrl-C.

    \b
    Examples:
      avatarpool gateway
      avatarpool gateway --port 0 --ingress-port 0
      avatarpool gateway --config gateway.toml --check
      avatarpool gateway --config gateway.toml --env-file gateway.env
      avatarpool gateway hash-key
    """  # noqa: D301 - \b tells click to keep the lines
    if context.invoked_subcommand is not None:
        return
    from avatarpool.cli.gateway import GatewayOptions, run  # noqa: PLC0415

    given = {"host": host, "port": port, "ingress_port": ingress_port}
    listen = {key: value for key, value in given.items() if value is not None}
    raise typer.Exit(run(GatewayOptions(config, listen), is_check=check))


@app.command("hash-key")
def hash_key(
    *,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="Hash the key on standard input, and make none."),
    ] = None,
) -> None:
    """Make a client's key, and the hash that the settings have of it.

    Prints the key, which is kept nowhere, and the line for [[clients]] or [admin].
    With -, a key of yours is read from standard input and its line alone is printed.

    \b
    Examples:
      avatarpool gateway hash-key
      avatarpool gateway hash-key - < key.txt
    """  # noqa: D301 - \b tells click to keep the lines
    from avatarpool.gateway import keys  # noqa: PLC0415

    if source is None:
        key = keys.new_key()
        typer.echo(key)
        note("The first line is the key: give it to the client. The second is for [[clients]].")
    elif source == "-":
        key = _key_from_input()
    else:
        raise typer.BadParameter("give the key on standard input, with -: all see a command line")
    typer.echo(f'key_hash = "{keys.key_hash(key)}"')


def _key_from_input() -> str:
    shortest, longest = _KEY_CHARACTERS
    text = sys.stdin.buffer.read(longest + 3)  # and the end of the line
    try:
        key = text.decode("ascii").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        key = ""
    if not (shortest <= len(key) <= longest and key.isprintable() and key == key.strip()):
        raise typer.BadParameter(
            f"a key has {shortest} to {longest} printable ASCII characters, in one line"
        )
    return key
