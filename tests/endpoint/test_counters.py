from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarpool.endpoint.admission import Admission, Credentials
from avatarpool.endpoint.conversation import Conversation
from avatarpool.endpoint.counters import ServiceCounters
from avatarpool.endpoint.limits import ServiceLimits
from avatarpool.endpoint.roster import Counts, Roster
from avatarpool.protocol.codec import encode
from avatarpool.protocol.messages import AudioInput, ConfigureSession, Interrupt
from avatarpool.protocol.settings import AudioFormat


@dataclass(eq=False)
class Somebody:
    """A conversation as the roster sees it."""

    counts: Counts = field(default_factory=Counts)
    open_requests: int = 0


def test_counts_add_up_field_by_field():
    total = Counts(1, 2, 3, 4, 5)
    total.add(Counts(10, 20, 30, 40, 50))

    assert total == Counts(11, 22, 33, 44, 55)


def test_what_somebody_did_counts_while_they_are_here_and_after():
    roster, one = Roster(), Somebody()
    roster.join(one)
    one.counts.served, one.open_requests = 2, 3
    assert (len(roster), roster.joined, roster.requests_open) == (1, 1, 3)
    assert roster.counts().served == 2

    one.counts.served += 1
    assert roster.counts().served == 3  # read off, not kept
    roster.leave(one)
    assert (len(roster), roster.joined, roster.requests_open) == (0, 1, 0)
    assert roster.counts().served == 3


def test_reading_counts_changes_none():
    roster, one = Roster(), Somebody(Counts(1, 1, 1, 1, 1))
    roster.join(one)
    roster.counts().served = 100

    assert roster.counts() == one.counts == Counts(1, 1, 1, 1, 1)


def test_nobody_leaves_twice():
    roster, one = Roster(), Somebody(Counts(served=1))
    roster.join(one)
    roster.leave(one)

    with pytest.raises(KeyError):
        roster.leave(one)
    assert roster.counts().served == 1


COUNTS = st.builds(Counts, *[st.integers(0, 9)] * len(fields(Counts)))


@settings(deadline=None)
@given(st.lists(st.tuples(COUNTS, st.integers(0, 9), st.booleans())))
def test_counts_are_the_same_whoever_has_left(people):
    roster = Roster()
    everybody = [Somebody(counts, requests) for counts, requests, _ in people]
    for one in everybody:
        roster.join(one)
    total = roster.counts()
    for one, (_, _, has_left) in zip(everybody, people, strict=True):
        if has_left:
            roster.leave(one)

    assert roster.counts() == total
    assert asdict(total) == {
        name: sum(asdict(counts)[name] for counts, _, _ in people) for name in asdict(Counts())
    }
    here = [requests for _, requests, has_left in people if not has_left]
    assert (len(roster), roster.requests_open) == (len(here), sum(here))


def test_a_service_s_counters_follow_from_who_was_let_in_and_what_was_said():
    limits = ServiceLimits(max_request_bytes=4)
    admission = Admission.local({"app": "key"}, ["avatar"], limits, wall_clock=lambda: 1000.0)
    roster = Roster()
    assert set(asdict(ServiceCounters.of(admission, roster)).values()) == {0}

    token = admission.grant(admission.applicant("key"), b'{"expireAt": 1060}')
    admission.admit(Credentials("nonsense", "app", "avatar"))
    account = admission.admit(Credentials(token, "app", "avatar"))
    talk = Conversation("c1", "avatar", account, limits, takes_opus=False, now=0.0)
    roster.join(talk)
    talk.receive(encode(ConfigureSession(16000, AudioFormat.PCM_S16LE)), 0.0)
    talk.confirm(0.0)
    for req_id in ("served", "interrupted", "failed", "open"):
        talk.receive(encode(AudioInput(req_id, b"\0\0", end=req_id == "served")), 0.0)
    talk.frame("served", b"", end=False)
    talk.frame("served", b"", end=True)
    talk.receive(encode(Interrupt("interrupted")), 0.0)
    talk.receive(encode(AudioInput("failed", bytes(4))), 0.0)
    account.charge(2.5)

    said = ServiceCounters(
        tokens_issued=1,
        upgrades_refused=1,
        connections_open=1,
        connections_total=1,
        sessions_total=1,
        requests_open=1,
        requests_served=1,
        requests_interrupted=1,
        requests_failed=1,
        frames_sent=2,
        audio_seconds=2.5,
    )
    assert ServiceCounters.of(admission, roster) == said
    talk.end()
    roster.leave(talk)
    account.leave()
    left = asdict(said) | {"connections_open": 0, "requests_open": 0}
    assert asdict(ServiceCounters.of(admission, roster)) == left
