from __future__ import annotations

from typing import Any

import pytest

from avatarpool.client.routing import Nobody, Router
from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode, SessionStateError
from avatarpool.protocol.messages import AnimationFrame
from avatarpool.protocol.requests import RequestLog


class Observer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *what: self.told.append((name, *what))

    def news(self) -> list[tuple[object, ...]]:
        """What it was told since it was last asked."""
        told, self.told = self.told, []
        return told


SETTLED = ("request_settled",)


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def router(observer: Observer) -> Router:
    return Router(RequestLog(), observer)


def failure(req_id: str | None = None) -> AvatarSDKError:
    return AvatarSDKError(AvatarSDKErrorCode.upstreamError, "driven request failed", req_id=req_id)


def interrupted(router: Router) -> str:
    """Have a request that was interrupted and whose end nobody saw."""
    req_id = router.audio(end=True)
    router.log.interrupt()
    return req_id


def test_a_request_begins_once_with_its_first_audio(router: Router, observer: Observer):
    req_id = router.audio(end=False)
    assert router.audio(end=False) == req_id
    assert router.audio(end=True) == req_id
    assert observer.news() == [("request_began", req_id)]
    with pytest.raises(SessionStateError, match="still being answered"):
        router.audio(end=True)
    assert observer.news() == []


def test_a_foreign_sessions_id_is_taken(router: Router, observer: Observer):
    assert router.audio(end=True, req_id="theirs") == "theirs"
    assert observer.news() == [("request_began", "theirs")]


def test_the_current_requests_frames_are_received_and_the_last_one_settles(
    router: Router, observer: Observer
):
    req_id = router.audio(end=True)
    observer.news()
    first, last = AnimationFrame(req_id), AnimationFrame(req_id, end=True)
    assert router.frame(first)
    assert observer.news() == [("frame_received", first)]
    assert router.frame(last)
    assert observer.news() == [("frame_received", last), SETTLED]


def test_an_interrupted_requests_frames_are_dropped_and_its_last_one_settles(
    router: Router, observer: Observer
):
    req_id = interrupted(router)
    observer.news()
    late, last = AnimationFrame(req_id), AnimationFrame(req_id, end=True)
    assert not router.frame(late)
    assert observer.news() == [("frame_dropped", late)]
    assert not router.frame(last)
    assert observer.news() == [("frame_dropped", last), SETTLED]


def test_the_last_frame_of_one_request_does_not_settle_for_another(
    router: Router, observer: Observer
):
    old = interrupted(router)
    router.audio(end=True)
    observer.news()
    router.frame(AnimationFrame(old, end=True))
    assert SETTLED not in observer.news()


def test_a_last_frame_before_the_audio_ends_settles_nothing_until_it_does(
    router: Router, observer: Observer
):
    req_id = router.audio(end=False)
    router.frame(AnimationFrame(req_id, end=True))
    assert SETTLED not in observer.news()
    router.audio(end=True)
    router.settle()
    assert observer.news() == [SETTLED]


def test_a_frame_of_a_request_that_was_never_made_is_an_error_with_the_connections_name(
    router: Router, observer: Observer
):
    router.connection_id = "c-1"
    router.audio(end=True)
    observer.news()
    stray = AnimationFrame("of nobody", end=True)
    with pytest.raises(AvatarSDKError, match="never made") as caught:
        router.frame(stray)
    assert caught.value.code is AvatarSDKErrorCode.protocolError
    assert caught.value.connection_id == "c-1"
    assert observer.news() == [("frame_dropped", stray)]


def test_a_frame_after_the_last_one_breaks_the_protocol_and_harms_no_request(
    router: Router, observer: Observer
):
    req_id = router.audio(end=True)
    router.frame(AnimationFrame(req_id, end=True))
    observer.news()
    stray = AnimationFrame(req_id)
    assert not router.frame(stray)
    dropped, (told, error) = observer.news()
    assert dropped == ("frame_dropped", stray)
    assert told == "protocol_broken"
    assert "answered after its last frame" in str(error)


def test_an_error_fails_the_current_request_named_or_not(router: Router, observer: Observer):
    for is_named in (True, False):
        req_id = router.audio(end=True)
        observer.news()
        error = failure(req_id if is_named else None)
        assert router.error(error)
        assert observer.news() == [("request_failed", error), SETTLED]


def test_an_error_fails_a_half_sent_request_once_and_settles_nothing(
    router: Router, observer: Observer
):
    router.audio(end=False)
    observer.news()
    error = failure()
    assert router.error(error)
    assert observer.news() == [("request_failed", error)]
    assert not router.error(failure())
    assert observer.news() == []


def test_an_error_that_names_another_request_leaves_the_current_one_alone(
    router: Router, observer: Observer
):
    old = interrupted(router)
    current = router.audio(end=True)
    observer.news()
    assert not router.error(failure(old))
    assert not router.error(failure("of nobody"))
    assert observer.news() == []
    assert router.log.fading is None
    assert router.error(failure(current))


def test_an_error_while_nothing_is_under_way_fails_nobody(router: Router, observer: Observer):
    assert not router.error(failure())
    assert [name for name, *_ in observer.news()] == ["request_settled"]


@pytest.mark.parametrize("is_written_off", [False, True])
def test_an_error_that_names_nobody_while_one_fades_is_a_doubt_and_the_next_one_is_none(
    router: Router, observer: Observer, *, is_written_off: bool
):
    interrupted(router)
    if is_written_off:
        router.log.write_off()
    current = router.audio(end=True)
    observer.news()
    doubted, failed = failure(), failure()
    assert not router.error(doubted)
    assert observer.news() == [("request_doubted", doubted)]
    assert router.log.current == current
    assert router.error(failed)
    assert observer.news() == [("request_failed", failed), SETTLED]


def test_an_error_that_names_the_current_request_is_no_doubt_though_another_one_fades(
    router: Router, observer: Observer
):
    fading = interrupted(router)
    current = router.audio(end=True)
    observer.news()
    error = failure(current)
    assert router.error(error)
    assert observer.news() == [("request_failed", error)]
    assert router.log.fading == fading


def test_an_error_that_answers_an_interrupt_settles(router: Router, observer: Observer):
    interrupted(router)
    observer.news()
    error = failure()
    assert not router.error(error)
    assert observer.news() == [("request_doubted", error), SETTLED]


def test_an_error_after_a_later_request_was_answered_is_no_doubt_any_more(
    router: Router, observer: Observer
):
    interrupted(router)
    router.log.write_off()
    router.frame(AnimationFrame(router.audio(end=True), end=True))
    router.audio(end=True)
    observer.news()
    error = failure()
    assert router.error(error)
    assert observer.news()[0] == ("request_failed", error)


def test_nobody_follows_and_hears_everything():
    router = Router(RequestLog(), Nobody())
    req_id = router.audio(end=True)
    assert router.frame(AnimationFrame(req_id, end=True))
    assert not router.frame(AnimationFrame(req_id))
    interrupted(router)
    assert not router.error(failure())
    assert router.error(failure(router.audio(end=True)))
    router.observer.session_ended(None)
