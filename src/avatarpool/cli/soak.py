"""``avatarpool soak``: random faults against random load, and what must hold."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from avatarpool.cli.exit_codes import INTERRUPTED
from avatarpool.cli.screen import terminal
from avatarpool.cli.signals import Interruptible
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.soak.gateways import CLIENTS, BreakableGateway
from avatarpool.soak.plan import SoakPlan
from avatarpool.soak.report import SoakReport, progress_text
from avatarpool.soak.soak import Soak
from avatarpool.soak.tally import Tally
from avatarpool.soak.troubles import BreakableService

_LINE_EVERY = 5.0  # seconds, where no line can be rewritten


async def run_soak(plan: SoakPlan, json_file: Path | None = None) -> int:
    """Run the soak, print the report and return the command's exit code.

    Raises:
        AvatarPoolError: The local service gave no connection.
        OSError: The service cannot listen, or the file cannot be written.
    """
    print(  # noqa: T201
        f"Soaking {_soaked(plan)} with {plan.borrowers} borrowers for "
        f"{plan.seconds / 60:g} minutes (faults: {plan.faults.value}, seed: {plan.seed})",
        flush=True,
    )
    with ProgressLine(plan) as line:
        async with _prepared(plan, line) as soak:
            scope = Interruptible(is_told=True)
            try:
                async with scope:
                    await soak.run()
            finally:
                report = await soak.finish(was_interrupted=scope.was_interrupted)
    print(report.to_text(), flush=True)  # noqa: T201
    if json_file is not None:
        _write(report, json_file)
    if report.was_interrupted:
        return INTERRUPTED
    return 1 if report.has_violations else 0


def _soaked(plan: SoakPlan) -> str:
    if plan.through is None:
        return f"a pool of {plan.connections}"
    return f"a gateway of {plan.connections} sessions for {CLIENTS} clients' pools"


@asynccontextmanager
async def _prepared(plan: SoakPlan, line: ProgressLine) -> AsyncIterator[Soak]:
    rng = random.Random(plan.seed)  # noqa: S311  # no secret
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        if plan.through is None:
            service = await enter(BreakableService(rng))
            yield Soak(
                plan,
                [service.config_factory],
                service.troubles(plan.faults),
                unfinished=service.unfinished,
                on_tick=line.show,
            )
            return
        # An account: it has as many sessions as the gateway's budget, and not one more.
        limits = ServiceLimits(max_connections=plan.connections)
        service = await enter(BreakableService(rng, limits))
        gateway = BreakableGateway(service, rng, plan.connections)
        yield Soak(
            plan,
            gateway.config_factories(),
            gateway.troubles(plan.faults),
            unfinished=gateway.unfinished,
            on_tick=line.show,
            middle=gateway,
        )


def _write(report: SoakReport, file: Path) -> None:
    file.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")


class ProgressLine:
    """How far a soak is: one line on a terminal that changes, elsewhere one now and then."""

    def __init__(self, plan: SoakPlan) -> None:
        self._plan = plan
        console = terminal()
        self._status = console.status("opening the pool") if console else None
        self._next_at = 0.0

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, tally: Tally, elapsed: float) -> None:
        """Show where it stands."""
        text = progress_text(tally, elapsed, self._plan)
        if self._status is not None:
            self._status.update(text)
        elif elapsed >= self._next_at:
            self._next_at += _LINE_EVERY
            print(text, flush=True)  # noqa: T201
