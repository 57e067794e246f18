"""Soaks through a gateway: a sound one passes, and what can be broken in one is found."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import pytest
from pool_stats import stats

from avatarpool import PoolTimeout
from avatarpool.gateway import downstream
from avatarpool.gateway.failures import Failure
from avatarpool.gateway.relay import Relay
from avatarpool.service import ServiceLimits, SessionFault
from avatarpool.soak import soak
from avatarpool.soak.gateways import CAUSES, CLIENTS, BreakableGateway
from avatarpool.soak.plan import FaultMix, SoakPlan, Through
from avatarpool.soak.soak import Soak
from avatarpool.soak.tally import Tally, Violation
from avatarpool.soak.troubles import BreakableService

SESSIONS = 3


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(soak, "_CALM", (0.05, 0.1))
    monkeypatch.setattr(soak, "_FAULT", (0.05, 0.1))
    monkeypatch.setattr(soak, "_SAMPLE_EVERY", 0.01)
    monkeypatch.setattr(soak, "resident_bytes", lambda: None)  # it grows while all is new


@pytest.fixture
async def service():
    limits = ServiceLimits(max_connections=SESSIONS)
    async with BreakableService(random.Random(1), limits) as service:
        yield service


@pytest.fixture
async def gateway(service):
    gateway = BreakableGateway(service, random.Random(1), SESSIONS)
    yield gateway
    await gateway.close()


async def soaked_until(gateway, is_enough, *names):
    """Soak until its tally is enough, under the gateway's faults of these names."""

    class Enough(Exception):
        pass

    def look(tally, elapsed):
        if is_enough(tally):
            raise Enough

    plan = SoakPlan(60.0, SESSIONS, borrowers=6, seed=1, through=Through.GATEWAY)
    troubles = {name: gateway.troubles(FaultMix.MIXED)[name] for name in names}
    soak = Soak(
        plan,
        gateway.config_factories(),
        troubles,
        unfinished=gateway.unfinished,
        on_tick=look,
        middle=gateway,
    )
    with suppress(Enough):
        await soak.run()
    return await soak.finish()


def finds(kind):
    return lambda tally: any(finding.kind is kind for finding in tally.findings)


def kinds(report):
    return {finding.kind for finding in report.tally.findings}


async def test_a_sound_gateway_passes_and_its_restarts_are_survived(gateway):
    names = "gateway restart", "gateway crash", "gateway restart under faults", "resets"

    def is_enough(tally):
        return tally.answered > 50 and set(tally.faults) == set(names)

    report = await soaked_until(gateway, is_enough, *names)
    assert report.tally.findings == ()
    assert is_enough(report.tally)
    assert set(report.tally.failures) <= CAUSES
    assert (report.leaked_tasks, report.leaked_sockets) == (0, 0)
    assert "SOAK PASSED" in report.to_text()


async def test_a_restarted_gateway_is_another_one_on_the_same_ports(gateway):
    await gateway.open()
    before = gateway.config_factories()[0]()
    old = gateway._gateway
    for name in ("gateway restart", "gateway crash"):
        await gateway.troubles(FaultMix.RESTARTS)[name](0.0)
        assert gateway._gateway is not old
        assert gateway.config_factories()[0]() == before


async def test_a_fault_that_is_cancelled_is_over_once_its_gateway_is_there_again(gateway):
    await gateway.open()
    for name in ("gateway restart", "gateway crash", "gateway restart under faults"):
        old = gateway._gateway
        fault = asyncio.create_task(gateway.troubles(FaultMix.MIXED)[name](60.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fault.cancel()
        with suppress(asyncio.CancelledError):
            await fault
        assert gateway._gateway is not old


def misdirecting(monkeypatch):
    """Now and then a frame goes to whoever else has a request open."""
    there = set()
    frame = downstream._Relayed.frame

    def misdirected(self, given):
        there.add(self)
        others = [each for each in there if each is not self and not each.relay.is_over]
        frame(others[0] if others and not given.end else self, given)

    monkeypatch.setattr(downstream._Relayed, "frame", misdirected)


def refusing(monkeypatch):
    """Whatever fails is told as a limit of the client's own."""
    over = Relay._over

    def told(self, failure):
        over(self, failure and Failure("clientBusy", "too much", 4003, 429))

    monkeypatch.setattr(Relay, "_over", told)


def forgetting(monkeypatch):
    """Requests that are over stay in its books."""
    monkeypatch.setattr("avatarpool.gateway.clients.Client.end", lambda *_: None)
    monkeypatch.setattr(soak, "LEFTOVER_TIMEOUT", 0.5)


@pytest.mark.parametrize(
    ("breaking", "kind", "faults"),
    [
        (misdirecting, Violation.MIXED, ()),
        (refusing, Violation.OUT_OF_PLACE, ("resets",)),
        (forgetting, Violation.COUNTERS, ()),
    ],
)
async def test_what_is_wrong_with_a_gateway_is_found(gateway, monkeypatch, breaking, kind, faults):
    breaking(monkeypatch)
    report = await soaked_until(gateway, finds(kind), *faults)
    assert kind in kinds(report)


# --- what is complained of ----------------------------------------------------------------


NOTHING = [stats(requests_num=0, total_requests_served=0, frames_received=0)] * CLIENTS


def complaints(gateway, pools=NOTHING, *, tally=None, was_calm=False):
    return list(gateway.complaints(pools, tally or Tally(), was_calm=was_calm))


@pytest.fixture
async def opened(gateway):
    await gateway.open()
    while gateway._gateway.group.get_stats()["total"]["total_connections"] < 1:
        await asyncio.sleep(0.01)
    return gateway


async def test_a_gateway_that_agrees_is_not_complained_of(opened):
    assert complaints(opened, was_calm=True) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"total_requests_served": 1}, "had 3 last frames, the gateway has sent 0"),
        ({"frames_received": 1}, "have received 3 frames, the gateway has sent 0"),
    ],
)
async def test_more_than_a_gateway_has_sent_is_complained_of(opened, change, said):
    ((kind, sentence),) = complaints(opened, [NOTHING[0] | change] * CLIENTS)
    assert kind is Violation.COUNTERS
    assert said in sentence


async def test_requests_that_nobody_made_are_complained_of(opened):
    (first, *_) = opened._gateway.clients
    first.requests += 1
    ((kind, sentence),) = complaints(opened)
    assert kind is Violation.COUNTERS
    assert sentence == "client-1 has begun 0 requests, the gateway has 1 of it"


async def test_seconds_that_were_not_counted_are_complained_of(opened):
    tally = Tally()
    tally.answered_frames = 100
    ((kind, sentence),) = complaints(opened, tally=tally)
    assert kind is Violation.COUNTERS
    assert sentence.endswith("the gateway has counted 0.0 s")


async def test_what_was_counted_before_a_restart_counts_on(opened):
    (first, *_) = opened._gateway.clients
    first.requests += 1
    await opened.troubles(FaultMix.RESTARTS)["gateway restart"](0.0)
    assert [kind for kind, _ in complaints(opened)] == [Violation.COUNTERS]


async def test_a_session_beyond_the_budget_is_complained_of(opened, service, monkeypatch):
    monkeypatch.setattr(BreakableService, "sessions_open", SESSIONS + 1)
    ((kind, sentence),) = complaints(opened)
    assert kind is Violation.BUDGET
    assert sentence.endswith(f"{SESSIONS + 1} open, of {SESSIONS}")


async def test_an_account_that_is_asked_for_one_too_many_is_complained_of(opened, service):
    opened._gateway.group.resize(SESSIONS + 1)
    async with AsyncExitStack() as stack:
        for _ in range(SESSIONS):
            await stack.enter_async_context(opened._gateway.group.borrow("local-avatar"))
        with suppress(PoolTimeout):
            await stack.enter_async_context(
                opened._gateway.group.borrow("local-avatar", timeout=2.0)
            )
        said = [sentence for _, sentence in complaints(opened, was_calm=True)]
        assert any(each.endswith("one more than the account allows") for each in said)
        said = [sentence for _, sentence in complaints(opened, was_calm=False)]
        assert not any(each.endswith("one more than the account allows") for each in said)


async def test_what_a_gateway_remembers_is_not_healed(opened):
    while opened.unhealed() is not None:
        await asyncio.sleep(0.01)
    service = opened._service
    service.faults.sessions = SessionFault(upgrade_status=402)
    opened._gateway.group.drain()
    while opened.unhealed() is None:
        await asyncio.sleep(0.01)


def test_a_failure_of_another_name_is_out_of_place():
    tally = Tally(causes=["connectionClosed"])
    tally.failed("connectionClosed", "the service is closing", calm=None)
    assert tally.findings == ()
    tally.failed("concurrencyLimit", "too many", calm=None)
    (finding,) = tally.findings
    assert (finding.kind, finding.first) == (Violation.OUT_OF_PLACE, "concurrencyLimit: too many")
