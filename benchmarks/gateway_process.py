"""A gateway in a process of its own, before an upstream, so that its CPU and memory are its own.

    gateway_process.py LOOP PORTS SESSIONS

Its one client is ``app`` with the key ``key``, as `clients.Ports` has it, and may ask for as much
as it likes. It is what `avatarpool gateway` runs, on either event loop.
Prints where it listens as one line of JSON, as `upstream` does, and runs until
its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from clients import Ports
from upstream import allow_many_sockets

from avatarpool.cli.gateway import keep_out_of_collections
from avatarpool.gateway import keys
from avatarpool.gateway.gateway import Gateway
from avatarpool.gateway.settings import (
    Budget,
    ClientLimits,
    ClientSettings,
    GatewaySettings,
    Listen,
    Pools,
    Upstream,
)

HOUR = 3600.0


def settings_for(ports: Ports, sessions: int) -> GatewaySettings:
    """Return what the gateway is told."""
    config = ports.config("")
    certificate = Path(os.environ["BENCH_CERTIFICATE"]) if ports.is_secure else None
    return GatewaySettings(
        listen=Listen(
            port=0,
            ingress_port=0,
            tls_certificate=certificate,
            tls_key=certificate,
            idle_timeout=HOUR,
            shutdown_timeout=1.0,
        ),
        upstream=Upstream(
            api_key=config.api_key,
            app_id=config.app_id,
            console_endpoint=config.console_endpoint_url,
            ingress_endpoint=config.ingress_endpoint_url,
            proxy=False,
        ),
        budget=Budget(sessions=sessions),
        pools=Pools(max_idle=HOUR, session_ttl_minutes=60),
        clients=(
            ClientSettings(
                name="bench",
                app_id=config.app_id,
                key_hash=keys.key_hash(config.api_key),
                limits=ClientLimits(max_concurrent=10_000, max_waiting=10_000, queue_timeout=60.0),
            ),
        ),
    )


async def main(ports: Ports, sessions: int) -> None:
    """Serve until standard input ends."""
    allow_many_sockets()
    async with Gateway(settings_for(ports, sessions)) as gateway:
        keep_out_of_collections()
        where = {
            "ingress": urlsplit(gateway.ingress_url).port,
            "console": urlsplit(gateway.console_url).port,
            "copier": ports.copier,
            "host": ports.host,
            "is_secure": ports.is_secure,
        }
        print(json.dumps(where), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    coroutine = main(Ports(**json.loads(sys.argv[2])), int(sys.argv[3]))
    if sys.argv[1] == "uvloop":
        import uvloop

        uvloop.run(coroutine)
    else:
        asyncio.run(coroutine)
