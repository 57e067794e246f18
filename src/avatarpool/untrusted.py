"""What is not ours may raise, hang or lie: users' hooks and factories, SDKs, their exceptions.

Each place where such code is called goes through here, so that its exceptions,
cancellations and words come in one shape.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import TypeVar

from avatarpool.exceptions import AvatarPoolError, PoolError
from avatarpool.protocol.refusals import HIDDEN

T = TypeVar("T")

_NAME = r"[\w.-]*(?:key|token|secret|passw|pwd|signature|credential|auth)[\w.-]*"
_IS_SECRET = re.compile(_NAME, re.IGNORECASE)

# Where a text shows a credential, whatever it is: in a URL's front, as a parameter, as an
# item of a mapping, as a header, as a JSON Web Token.
_SHOWN = (
    (re.compile(r"(://)[^/\s@]+(?=@)"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)\b({_NAME}=)(?!\[)[^\s&\"',;)\]}}]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)\b({_NAME}[\"']?:\s*)([\"'])[^\"']*\2"), rf"\1\2{HIDDEN}\2"),
    (re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]+"), rf"\1 {HIDDEN}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
)

_MOST_CHARACTERS = 500  # of somebody else's words in ours


class Interrupted(Exception):
    """A CancelledError that came from within: nobody had asked for it."""


async def awaited(work: Awaitable[T]) -> T:
    """Await code that is not ours.

    Who is cancelled gets CancelledError whatever the code makes of it, and a
    CancelledError of its own doing is an error like others.

    Raises:
        Interrupted: It raised CancelledError, and nobody had cancelled.
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
    except Exception as error:
        if task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task.cancelling() > before:
        raise asyncio.CancelledError
    return result


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
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _SHOWN:
        text = pattern.sub(replacement, text)
    return "".join(c if c.isprintable() else " " for c in text[:_MOST_CHARACTERS])


def secrets_in(options: Mapping[str, object]) -> list[str]:
    """Return the values whose names say that they are secret, those of dataclasses too."""
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, str):
            found += [value] if value and _IS_SECRET.fullmatch(name) else []
        elif is_dataclass(value):
            found += secrets_in({each.name: getattr(value, each.name) for each in fields(value)})
    return found


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
        if isinstance(fresh, AvatarPoolError):
            fresh.__cause__ = error.__cause__ or error
            return fresh
    wrapped = PoolError(words(error))
    wrapped.__cause__ = error
    return wrapped
