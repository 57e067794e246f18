"""What is not ours may raise, hang or lie: users' hooks and factories, SDKs, their exceptions.

Each place where such code is called goes through here, so that its exceptions,
cancellations and words come in one shape.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

from avatarpool.exceptions import AvatarPoolError, PoolError
from avatarpool.protocol.refusals import HIDDEN

T = TypeVar("T")

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]

# The end of a secret's name. Bounded, and without its beginning: a text may be made to be
# searched for long.
_NAME = r"(?:key|token|secret|passw|pwd|signature|credential|auth)[\w.-]{0,40}"
_IS_SECRET = re.compile(_NAME, re.IGNORECASE)

# Where a text shows a credential, whatever it is: in a URL's front, as a parameter, as an
# item of a mapping, as a header, as a JSON Web Token.
_SHOWN = (
    (re.compile(r"(://)[^/\s@]+(?=@)"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_NAME}[\"']?\s?[=:]\s?b?)([\"'])[^\"']*\2"), rf"\1\2{HIDDEN}\2"),
    (re.compile(rf"(?i)({_NAME}=)(?![\[\"'])[^\s&\"',;)\]}}]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic) (?!\[)[\w.~+/=-]+"), rf"\1 {HIDDEN}"),
    (re.compile(rf"(?i)({_NAME}:\s?)(?!\[)[\w.~+/=-]{{16,}}"), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}[\w.-]*"), HIDDEN),
)

_SHORTEST_SECRET = 4  # characters: shorter ones stand in half of all words

_DEEPEST = 4  # mappings and dataclasses in each other that are searched for secrets

_MOST_CHARACTERS = 500  # of somebody else's words in ours


class Interrupted(Exception):
    """A CancelledError that nobody had asked for, or what else is no `Exception`."""


async def awaited(work: Awaitable[T]) -> T:
    """Await code that is not ours.

    Who is cancelled gets CancelledError whatever the code makes of it, and a
    CancelledError of its own doing is an error like others. So is every other
    BaseException but what ends the program.

    Raises:
        Interrupted: It raised CancelledError, and nobody had cancelled; or what is
            no `Exception` at all.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        result = await work
    except asyncio.CancelledError as error:
        if task.cancelling() > before:
            raise
        raise Interrupted("it was cancelled from within") from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if task.cancelling() > before:
            raise asyncio.CancelledError from error
        if isinstance(error, Exception):
            raise
        raise Interrupted(f"it raised {words(error)}") from error
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result


async def answered(call: Callable[..., Awaitable[T]], *args: object) -> T:
    """Call code that is not ours and await what it gives, as `awaited` does."""

    async def asked() -> T:  # what is raised before there is anything to await, too
        return await call(*args)

    return await awaited(asked())


def raised(callback: Callable[..., object], *args: object) -> ExceptionInfo | None:
    """Call a callback that is not ours, and return what it raised, for a log.

    Whoever calls is amid its bookkeeping: what ends the program does so a moment later.
    """
    try:
        callback(*args)
    except (KeyboardInterrupt, SystemExit) as end:
        asyncio.get_running_loop().call_soon(_raise, end)
    except BaseException as error:  # noqa: BLE001
        # In this form, as logging would ask an exception whether it is true.
        return type(error), error, error.__traceback__
    return None


def _raise(error: BaseException) -> None:
    raise error


def words(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Return an exception's repr, in one line that shows no credentials.

    Args:
        error: Anybody's: even ``repr()`` of it may raise.
        secrets: Known ones, whose text is hidden wherever it stands.
    """
    try:
        return hidden(repr(error), secrets)
    except Exception:  # noqa: BLE001
        return type(error).__name__


def hidden(text: str, secrets: Iterable[str] = ()) -> str:
    """Return somebody else's text in one line of bounded length, without credentials."""
    text = without(text, secrets)
    text = text[: 4 * _MOST_CHARACTERS]  # some of which may be hidden
    for pattern, replacement in _SHOWN:
        text = pattern.sub(replacement, text)
    return "".join(c if c.isprintable() else " " for c in text[:_MOST_CHARACTERS])


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text of any length in which the secrets, in whatever form, are hidden."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        # As it is, as it stands in a URL, and as a repr and JSON write it.
        url, written, as_json = quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1]
        for form in {secret, url, quote(secret), written, as_json}:
            text = text.replace(form, HIDDEN)
    return text


def body_without(body: str, secrets: Sequence[str]) -> str:
    """Return an HTTP body in which the secrets are hidden, those in JSON's escapes too."""
    try:
        plain = json.dumps(json.loads(body))  # escapes what it must, and no letter
    except (ValueError, RecursionError):
        return without(body, secrets)
    shown = without(plain, secrets)
    return without(body, secrets) if shown == plain else shown


def secrets_in(options: Mapping[str, object], depth: int = _DEEPEST) -> list[str]:
    """Return the values whose names say that they are secret, those further in too."""
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, str):
            is_secret = len(value) >= _SHORTEST_SECRET and _IS_SECRET.search(str(name))
            found += [value] if is_secret else []
        elif depth and isinstance(value, Mapping):
            found += secrets_in(value, depth - 1)
        elif depth and is_dataclass(value) and not isinstance(value, type):
            named = {each.name: getattr(value, each.name, None) for each in fields(value)}
            found += secrets_in(named, depth - 1)
    return found


def ours(error: AvatarPoolError) -> AvatarPoolError:
    """Return one of our errors, unless it is a user's own kind of it that cannot be read."""
    try:
        str(error)
        repr(error)
        bool(error)
        bool(getattr(error, "retryable", False))
    except Exception:  # noqa: BLE001
        return _wrapped(error)
    return error


def copied(error: Exception) -> AvatarPoolError:
    """Return a copy of an error for one of several who learn of it, its cause chained.

    Each needs one of its own, for its traceback. What cannot be copied, or is none of
    our errors, is the cause of a `PoolError`.
    """
    if isinstance(error, AvatarPoolError):
        try:
            fresh = copy.copy(error)
        except Exception:  # noqa: BLE001  # a user's subclass may do anything
            fresh = None
        if isinstance(fresh, AvatarPoolError) and fresh is not error:
            cause = error.__cause__  # which may raise where it is asked whether it is true
            fresh.__cause__ = error if cause is None else cause
            return fresh
    return _wrapped(error)


def _wrapped(error: Exception) -> PoolError:
    wrapped = PoolError(words(error))
    wrapped.__cause__ = error
    return wrapped
