"""Measures avatarpool and its peers side by side: ``make bench``.

    python benchmarks/run.py                      # everything, some twenty minutes
    python benchmarks/run.py --quick              # a look, a minute or two
    python benchmarks/run.py --only request --only borrow
    python benchmarks/run.py --publish            # and renew docs/performance.md

Each peer has a process of its own on each event loop; they take turns, round by
round, on the same work, and the medians of the rounds are what counts. The
service is a further process, and so is a gateway. CPU time is the client's alone; on a busy machine
it is to be trusted, wall time is not. What is measured over a wide-area link needs
root and TUN devices, and is left out where they are not to be had.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import certificate
import wan
from case import Case, Link
from relays import HAPROXY
from report import Results, publish, tables
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent
RESULTS = HERE.parent / "build" / "bench"

# In the order of the tables; the names are those of the modules in cases/.
CASES = (
    "link_wss",
    "link",
    "link_loss",
    "request_wss",
    "request_single_wss",
    "request_natural_wss",
    "memory_wss",
    "opening_wss",
    "request",
    "request_single",
    "request_paced",
    "memory",
    "opening",
    "borrow",
    "borrow_contended",
    "borrow_fleet",
    "fleet",
    "waiters",
    "first_frame",
    "idle",
    "many",
    "many_borrows",
    "many_requests",
    "service",
    "hostile",
    "gateway_frames",
    "gateway_first_frame",
    "gateway_idle",
    "gateway_idle_wss",
    "gateway_growth",
    "gateway_hostile",
)

ROUND_TIMEOUT = 180.0

NO_HAPROXY = "Left out: HAProxy, which is not installed: apt-get install haproxy."

LOOPBACK = "127.0.0.1"


class BenchmarkError(Exception):
    """A process of a benchmark failed; it has said why on standard error."""


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of our scripts; it ends when its standard input does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process, which ends the others
    )
    assert process.stdin is not None
    patience = 1.0  # with one that is stopped amid its work
    try:
        yield process
        patience = ROUND_TIMEOUT  # with one that closes thousands of connections
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(patience):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def answer(process: asyncio.subprocess.Process, what: str) -> dict[str, float]:
    """Read a line of JSON."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(ROUND_TIMEOUT):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise BenchmarkError(f"{what} took over {ROUND_TIMEOUT:.0f} s for a round") from error
    if not line:
        raise BenchmarkError(f"{what} failed: its error is above")
    result: dict[str, float] = json.loads(line)
    return result


class Turns:
    """Runs one case: every peer on every loop, in turn."""

    def __init__(self, name: str, case: Case, ports: str, *, is_quick: bool) -> None:
        self._name = name
        self._case = case
        self._ports = ports
        self._options = ["--quick"] if is_quick else []
        self.rounds = min(case.rounds, 2) if is_quick else case.rounds
        peers = [peer for peer in case.peers if peer != "haproxy" or HAPROXY is not None]
        self.keys = [(peer, loop) for peer in peers for loop in case.loops]
        self.figures: dict[tuple[str, str], list[dict[str, float]]] = {k: [] for k in self.keys}

    async def run(self, progress: Progress) -> None:
        """Measure."""
        task = progress.add_task(self._name, total=self.rounds * len(self.keys))
        async with AsyncExitStack() as stack:
            workers: dict[tuple[str, str], asyncio.subprocess.Process] = {}

            async def one_round(key: tuple[str, str]) -> None:
                if self._case.is_fresh:
                    async with self._worker(key) as worker:
                        self.figures[key].append(await self._ask(worker, key))
                else:
                    if key not in workers:
                        workers[key] = await stack.enter_async_context(self._worker(key))
                    self.figures[key].append(await self._ask(workers[key], key))
                progress.advance(task)

            for _ in range(self.rounds):
                if self._case.is_together:
                    await asyncio.gather(*map(one_round, self.keys))
                else:
                    for key in self.keys:
                        await one_round(key)

    def _worker(
        self, key: tuple[str, str]
    ) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        script = str(HERE / "worker.py")
        return child(script, self._name, *key, self._ports, *self._options)

    async def _ask(
        self, worker: asyncio.subprocess.Process, key: tuple[str, str]
    ) -> dict[str, float]:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        return await answer(worker, f"{self._name} of {key[0]} on {key[1]}")


class Upstreams:
    """Starts the service where a case wants it.

    Args:
        folder: Where its certificate is kept.
        network: The addresses of the wide-area link.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self._network = network
        _, self._far = wan.ends_of(network)
        trusted, self._certificate = certificate.issue(folder, LOOPBACK, self._far)
        os.environ["SSL_CERT_FILE"] = str(trusted)  # for the workers
        os.environ["BENCH_CERTIFICATE"] = str(self._certificate)  # for a gateway

    @cached_property
    def no_link(self) -> str | None:
        """Why there is no wide-area link here."""
        command = [sys.executable, *self._link(Link(0.0)), "true"]
        trial = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return trial.stderr.strip().rpartition("\n")[2] if trial.returncode else None

    def start(self, case: Case) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """Run one, which says where it listens."""
        command = [str(HERE / "upstream.py"), LOOPBACK if case.link is None else self._far]
        if case.is_secure:
            command.append(str(self._certificate))
        if case.link is not None:
            command = [*self._link(case.link), sys.executable, *command]
        return child(*command)

    def _link(self, link: Link) -> list[str]:
        loss = ["--loss", str(link.loss_percent)]
        return [str(HERE / "wan.py"), *loss, "--network", self._network, str(link.rtt_ms)]


async def measure(
    names: list[str], upstreams: Upstreams, *, is_quick: bool, console: Console
) -> tuple[Results, str]:
    """Run the cases one after the other; return the medians of their rounds.

    What had to be left out is the second answer, in sentences, if anything.
    """
    results: Results = {}
    left_out: list[str] = []
    columns = (TextColumn("{task.description:18}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for name in names:
            case: Case = importlib.import_module(f"cases.{name}").CASE
            if case.link is not None and upstreams.no_link is not None:
                left_out.append(name)
                continue
            async with upstreams.start(case) as upstream:
                ports = json.dumps(await answer(upstream, "the upstream"))
                turns = Turns(name, case, ports, is_quick=is_quick)
                await turns.run(progress)
            if not console.is_terminal:  # where no bar moves
                console.print(f"{name} measured")
            results[name] = {
                f"{peer} {loop}": medians(rounds) for (peer, loop), rounds in turns.figures.items()
            }
    why = [f"Left out: {', '.join(left_out)}, for {upstreams.no_link}."] if left_out else []
    if HAPROXY is None and any(name.startswith("gateway_") for name in results):
        why.append(NO_HAPROXY)
    return results, " ".join(why)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return each figure's median over the rounds."""
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


def main() -> None:
    """Measure, print, and leave the results in build/bench."""
    assert __doc__ is not None
    what, _, examples = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=what, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller numbers")
    parser.add_argument(
        "--only", action="append", choices=CASES, metavar="CASE", help="/".join(CASES)
    )
    parser.add_argument("--publish", action="store_true", help="renew docs/performance.md")
    parser.add_argument("--network", default=wan.own_network(), help="of the link")
    options = parser.parse_args()
    if options.publish and (options.only or options.quick):
        parser.error("--publish needs all figures: leave --only and --quick out")
    console = Console(stderr=True)
    try:
        with TemporaryDirectory() as folder:
            upstreams = Upstreams(Path(folder), options.network)
            if options.publish and upstreams.no_link is not None:
                parser.error(f"--publish needs all figures: {upstreams.no_link}")
            if options.publish and HAPROXY is None:
                parser.error(f"--publish needs all figures. {NO_HAPROXY}")
            names = options.only or list(CASES)
            results, left_out = asyncio.run(
                measure(names, upstreams, is_quick=options.quick, console=console)
            )
    except BenchmarkError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    text = tables(results)
    if options.quick:
        text = f"A quick look, with smaller numbers than the titles say.\n\n{text}"
    if left_out:
        text = f"{left_out}\n\n{text}"
    (RESULTS / "results.md").write_text(text, encoding="utf-8")
    print(text)
    if options.publish:
        publish(results)


if __name__ == "__main__":
    main()
