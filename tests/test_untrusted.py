"""What is not ours raises, hangs and lies: in which shape it comes to us."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import pickle
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from avatarpool.exceptions import (
    AvatarPoolError,
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    PoolError,
    PoolTimeout,
    RequestTimeout,
    SessionTokenError,
)
from avatarpool.untrusted import (
    Interrupted,
    awaited,
    copied,
    hidden,
    ours,
    raised,
    secrets_in,
    words,
)

Code = AvatarSDKErrorCode


class Outcome(BaseException):
    """No `Exception`, as pytest's outcomes and trio's Cancelled are none."""


class Unspeakable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __repr__


# --- awaited ----------------------------------------------------------------------------


async def finishes() -> str:
    return "done"


async def fails() -> None:
    raise LookupError("lost")


async def cancels_itself_by_raising() -> None:
    raise asyncio.CancelledError


async def is_no_exception() -> None:
    raise Outcome("a verdict")


async def exits() -> None:
    raise SystemExit(3)


async def test_what_code_returns_and_raises_comes_through():
    assert await awaited(finishes()) == "done"
    with pytest.raises(LookupError, match="lost"):
        await awaited(fails())
    with pytest.raises(TypeError):
        await awaited(None)  # type: ignore[arg-type]


async def test_a_cancellation_that_nobody_asked_for_is_an_error():
    with pytest.raises(Interrupted, match="from within") as caught:
        await awaited(cancels_itself_by_raising())
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


async def test_what_is_no_exception_is_made_one():
    with pytest.raises(Interrupted, match=r"it raised Outcome\('a verdict'\)") as caught:
        await awaited(is_no_exception())
    assert isinstance(caught.value.__cause__, Outcome)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_or_a_coroutine_is_not_held_up(end: type[BaseException]):
    class Ending:
        def __await__(self):
            raise end
            yield

    async def scenario() -> None:
        with pytest.raises(end):
            await awaited(Ending())

    asyncio.run(scenario())


async def turns_it_into_its_own_error() -> None:
    try:
        await asyncio.sleep(100)
    except BaseException as error:
        raise LookupError("the probe failed") from error


async def turns_it_into_what_is_no_exception() -> None:
    try:
        await asyncio.sleep(100)
    except BaseException as error:
        raise Outcome from error


async def swallows_it() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(100)
    return "as if nothing had been"


async def lets_it_pass() -> None:
    await asyncio.sleep(100)


@pytest.mark.parametrize(
    "work",
    [
        turns_it_into_its_own_error,
        turns_it_into_what_is_no_exception,
        swallows_it,
        lets_it_pass,
    ],
)
async def test_who_is_cancelled_ends_cancelled_whatever_the_code_makes_of_it(
    work: Callable[[], Awaitable[object]],
):
    task = asyncio.create_task(awaited(work()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_cancellation_of_before_is_not_taken_for_one_of_now():
    async def scenario() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            with pytest.raises(Interrupted):
                await awaited(cancels_itself_by_raising())
            return await awaited(finishes())
        return ""

    task = asyncio.create_task(scenario())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "done"


async def test_a_timeout_of_the_callers_is_a_timeout_though_the_code_swallows_it():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await awaited(swallows_it())


# --- callbacks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("no"), asyncio.CancelledError(), Outcome(), GeneratorExit(), Unspeakable()]
)
def test_what_a_callback_raises_is_handed_back(error: BaseException):
    def callback(first: int, second: int) -> None:
        assert (first, second) == (1, 2)
        raise error

    info = raised(callback, 1, 2)
    assert info is not None
    assert info[0] is type(error)
    assert info[1] is error
    assert info[2] is error.__traceback__


def test_a_callback_that_returns_has_raised_nothing():
    assert raised(list.append, [], 1) is None


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(3)])
def test_a_callback_that_ends_the_program_does_so_once_we_are_done(end: BaseException):
    def callback() -> None:
        raise end

    done = []

    async def scenario() -> None:
        assert raised(callback) is None
        done.append("bookkeeping")
        await asyncio.sleep(1)
        done.append("afterwards")

    loop = asyncio.new_event_loop()
    task = loop.create_task(scenario())
    with pytest.raises(type(end)):
        loop.run_until_complete(task)
    assert done == ["bookkeeping"]
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


# --- words ------------------------------------------------------------------------------

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.SflKxwRJSMeKKF2QT4fwpM"

SHOWN = [
    "wss://user:s3cr3t@example.com/ws",
    "https://s3cr3t@example.com",
    "wss://example.com/ws?id=7&sessionKey=s3cr3t&x=1",
    "api_key=s3cr3t, trying again",
    "api_key='s3cr3t'",
    'api-key = "s3cr3t and more s3cr3t"',
    "{'api_key': 's3cr3t', 'avatar_id': 'a'}",
    '{"apiKey":"s3cr3t"}',
    "{b'x-access-token': b's3cr3t'}",
    "Config(app_secret='s3cr3t', password='s3cr3t')",
    "Authorization: Bearer s3cr3t",
    "authorization: Basic s3cr3t==",
    "X-Api-Key: s3cr3t-0123456789abcdef",
    "AWS_SIGNATURE=s3cr3t",
]


@pytest.mark.parametrize("text", SHOWN)
def test_a_credential_is_hidden_wherever_it_stands(text: str):
    shown = hidden(text)
    assert "s3cr3t" not in shown
    assert "[hidden]" in shown


@pytest.mark.parametrize("text", [f"token {JWT} is bad", JWT, JWT.rpartition(".")[0], f"x={JWT}"])
def test_a_web_token_is_hidden_in_whole_and_in_part(text: str):
    assert "eyJ" not in hidden(text)


@pytest.mark.parametrize(
    "text",
    [
        "sessionTokenExpired: the session token has expired",
        "wss://example.com/v2/driveningress?id=avatar&appId=app",
        "no connection to 127.0.0.1:8080 within 2.00 s",
        "{'monkey': 7, 'avatar_id': 'a'}",
        "author: Ada",
    ],
)
def test_what_is_no_credential_is_left_alone(text: str):
    assert hidden(text) == text


def test_what_is_hidden_already_is_not_hidden_again():
    once = hidden("\n".join(SHOWN))
    assert hidden(once) == once


def test_known_secrets_are_hidden_in_every_form():
    secret = "a/b+c'd\"\n-0123"
    text = f"{secret} in https://x/{'a%2Fb%2Bc%27d%22%0A-0123'} or a/b%2Bc%27d%22%0A-0123"
    shown = hidden(f"{text}, {secret!r} and {json.dumps(secret)}", [secret, ""])
    assert "0123" not in shown
    assert shown.count("[hidden]") == 5


def test_a_secret_within_a_longer_one_shows_nothing_of_that():
    assert hidden("key-1-extended and key-1", ["key-1", "key-1-extended"]) == (
        "[hidden] and [hidden]"
    )


def test_others_words_are_one_short_line():
    shown = hidden("first\nsecond\x1b[31m" + "x" * 10_000)
    assert shown.startswith("first second [31mxxx")
    assert len(shown) == 500


@pytest.mark.parametrize(
    "piece", ["key-", "key", "a-", "eyJ-", "://", "basic ", "token=", "auth: ", "'key':'"]
)
def test_a_text_that_is_made_to_be_searched_for_long_is_not(piece: str):
    text = piece * (2_000_000 // len(piece))
    began = time.process_time()
    hidden(text, ["one-secret", "another-one"])
    assert time.process_time() - began < 0.5


def test_an_error_is_quoted_by_its_repr():
    assert words(ValueError("api_key=abc")) == "ValueError('api_key=[hidden]')"
    assert words(ValueError("abcdef"), ["abcdef"]) == "ValueError('[hidden]')"


def test_an_error_without_words_is_named():
    assert words(Unspeakable()) == "Unspeakable"


# --- what is secret -----------------------------------------------------------------------


@dataclass
class Egress:
    api_secret: str = "of-the-room"
    room: str = "room"
    later: str = field(init=False)


@dataclass
class Circle:
    token: str = "in-a-circle"
    itself: Any = None


def test_secrets_are_known_by_their_names_however_deep():
    options = {
        "api_key": "k-123",
        "app_id": "app",
        "sample_rate": 16000,
        "egress": Egress(),
        "headers": {"Authorization": "Bearer me", "Accept": "all"},
        "kind": Egress,
        "ACCESS_TOKEN": "",
        "is_key": None,
        7: "number",
    }
    found = secrets_in(options)  # type: ignore[arg-type]
    assert sorted(found) == ["Bearer me", "k-123", "of-the-room"]


def test_a_word_of_few_letters_is_no_secret():
    assert secrets_in({"keyboard": "us", "auth": "no"}) == []


def test_options_that_hold_themselves_are_searched_to_an_end():
    circle = Circle()
    circle.itself = circle
    knot: dict[str, object] = {"circle": circle}
    knot["knot"] = knot
    assert set(secrets_in(knot)) == {"in-a-circle"}


# --- copies -------------------------------------------------------------------------------

OURS = [
    PoolTimeout("late"),
    ConfigurationError("x", ["a", "b"]),
    RequestTimeout("r-1", 2.0, 3),
    SessionTokenError("no", http_status=401),
    AvatarSDKError(Code.creditsExhausted, "no", close_code=4001, connection_id="c"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_each_who_learns_of_an_error_gets_a_copy_with_its_facts_and_cause(error: AvatarPoolError):
    fresh = copied(error)
    assert fresh is not error
    assert type(fresh) is type(error)
    assert (str(fresh), vars(fresh)) == (str(error), vars(error))
    assert fresh.__cause__ is error
    cause = OSError("below")
    fresh.__cause__ = cause
    assert copied(fresh).__cause__ is cause


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_our_errors_travel_between_processes(error: AvatarPoolError):
    came = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert (type(came), str(came), vars(came)) == (type(error), str(error), vars(error))


class TakesMore(AvatarPoolError):
    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class CannotBeCopied(AvatarPoolError):
    def __copy__(self) -> AvatarPoolError:
        raise TypeError("one of its kind")


class IsItsOwnCopy(AvatarPoolError):
    def __copy__(self) -> AvatarPoolError:
        return self


class CopiesToSomethingElse(AvatarPoolError):
    def __copy__(self) -> Any:
        return "a copy"


class VaultError(Exception):
    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


def test_an_error_whose_constructor_takes_more_is_copied_all_the_same():
    fresh = copied(TakesMore("sealed", path="avatar"))
    assert isinstance(fresh, TakesMore)
    assert fresh.path == "avatar"


@pytest.mark.parametrize(
    "error",
    [
        CannotBeCopied("no"),
        IsItsOwnCopy("no"),
        CopiesToSomethingElse("no"),
        VaultError("no", path="avatar"),
        Unspeakable(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_copied_is_the_cause_of_a_pool_error(error: Exception):
    fresh = copied(error)
    assert type(fresh) is PoolError
    assert fresh.__cause__ is error
    assert type(error).__name__ in str(fresh)
    assert error.__cause__ is None, "nobody walks along its causes for ever"


class Mute(AvatarSDKError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Undecided(AvatarSDKError):
    @property
    def retryable(self) -> bool:
        raise RuntimeError("who knows")


class Neither(AvatarSDKError):
    def __bool__(self) -> bool:
        raise RuntimeError("neither")


@pytest.mark.parametrize("kind", [Mute, Undecided, Neither])
def test_an_error_of_a_users_own_kind_that_cannot_be_read_is_wrapped(kind: type[AvatarSDKError]):
    error = kind(Code.unknown, "x")
    assert type(ours(error)) is PoolError
    assert ours(error).__cause__ is error


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_an_error_that_can_be_read_is_left_as_it_is(error: AvatarPoolError):
    assert ours(error) is error
    assert copy.copy(error) is not error
