from __future__ import annotations

import pytest

from avatarpool.endpoint.requests import RequestRefused, RequestTable
from avatarpool.exceptions import SessionStateError


@pytest.fixture
def table() -> RequestTable:
    return RequestTable(max_open=2, max_id_bytes=8, max_remembered=3)


def test_a_request_lives_from_its_first_audio_to_its_last_frame(table):
    assert table.audio("a", end=False)
    assert not table.is_answering
    table.frame("a", end=False)
    assert table.audio("a", end=True)
    assert table.is_answering
    table.frame("a", end=True)

    assert "a" not in table
    assert len(table) == 0


@pytest.mark.parametrize("over", [False, True])
def test_audio_after_the_end_is_refused(table, over):
    table.audio("a", end=True)
    if over:
        table.frame("a", end=True)

    with pytest.raises(RequestRefused, match="after the end of request a"):
        table.audio("a", end=False)


def test_more_requests_than_allowed_are_refused_once_each(table):
    table.audio("a", end=False)
    table.audio("b", end=True)

    with pytest.raises(RequestRefused, match="2 requests are unfinished"):
        table.audio("c", end=False)
    assert not table.audio("c", end=False)  # its audio still comes and is dropped
    assert not table.audio("c", end=True)
    with pytest.raises(RequestRefused, match="used again"):
        table.audio("c", end=True)


def test_the_audio_of_a_failed_request_is_dropped_in_silence_up_to_its_end(table):
    table.audio("a", end=False)
    table.fail("a")

    assert not table.audio("a", end=False)
    assert not table.audio("a", end=True)
    with pytest.raises(RequestRefused):
        table.audio("a", end=False)


@pytest.mark.parametrize("end", [False, True])
def test_a_frame_of_a_request_that_is_not_open_changes_nothing(table, end):
    with pytest.raises(SessionStateError, match="not possible while a request is done"):
        table.frame("a", end=end)

    assert table.audio("a", end=True)


def test_a_last_frame_before_the_last_audio_changes_nothing(table):
    table.audio("a", end=False)
    with pytest.raises(SessionStateError, match="last_frame is not possible"):
        table.frame("a", end=True)

    assert "a" in table
    assert table.audio("a", end=True)


def test_requests_that_are_abandoned_are_open_no_more(table):
    table.audio("a", end=True)
    table.abandon()

    assert len(table) == 0
    assert not table.is_answering


def test_an_interrupt_owes_a_last_frame_just_once(table):
    table.audio("a", end=True)

    assert table.interrupt("a")
    assert not table.interrupt("a")


def test_an_interrupt_after_the_last_frame_owes_nothing(table):
    table.audio("a", end=True)
    table.frame("a", end=True)

    assert not table.interrupt("a")


def test_an_interrupt_of_an_unheard_request_owes_a_last_frame_and_spends_the_id(table):
    assert table.interrupt("a")
    with pytest.raises(RequestRefused):
        table.audio("a", end=False)


@pytest.mark.parametrize("req_id", ["", "123456789", "éééééé"])
def test_an_id_of_the_wrong_length_is_refused(table, req_id):
    with pytest.raises(RequestRefused, match="1 to 8 bytes"):
        table.audio(req_id, end=True)
    with pytest.raises(RequestRefused, match="1 to 8 bytes"):
        table.interrupt(req_id)


def test_only_so_many_finished_requests_are_remembered(table):
    for name in "abcd":
        table.audio(name, end=True)
        table.frame(name, end=True)

    assert table.audio("a", end=True)  # forgotten, oldest first
    with pytest.raises(RequestRefused):
        table.audio("d", end=True)
    assert repr(table) == "<RequestTable 1 open>"
