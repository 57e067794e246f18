"""What a session makes of what the service said last: a confirmation, or why it is over; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode, ConnectionGone
from avatarpool.protocol.messages import ConfirmSession, Message, ServerError
from avatarpool.protocol.refusals import connection_closed, protocol_violation, server_error
from avatarpool.transport.websocket import Ended
from avatarpool.untrusted import without

_MAX_NAME = 256  # characters of a connection id, which goes into logs and metrics


def confirmation(message: Message) -> ConfirmSession:
    """Return the confirmation that a handshake was answered with; an error is no such answer.

    Raises:
        AvatarSDKError: It was answered with nonsense.
    """
    if not isinstance(message, ConfirmSession):
        name = type(message).__name__
        raise protocol_violation(f"the handshake was answered with {name}", "handshake")
    if not (message.connection_id.isprintable() and 0 < len(message.connection_id) <= _MAX_NAME):
        raise protocol_violation(
            f"the connection id is not of 1 to {_MAX_NAME} printable characters", "handshake"
        )
    return message


def failure(error: ServerError, secrets: Iterable[str], *, is_opening: bool) -> AvatarSDKError:
    """Say what the service reported, without the secrets that it may repeat."""
    said = replace(error, message=without(error.message, secrets))
    return server_error(said, phase=f"websocket_{'handshake' if is_opening else 'runtime'}")


def why_ended(
    ended: Ended,
    secrets: Iterable[str],
    *,
    is_opening: bool,
    connection_id: str | None,
    req_id: str | None,
) -> AvatarSDKError:
    """Say why a connection ended that nobody here has closed, without the secrets."""
    phase = "handshake" if is_opening else "runtime"
    reason = without(ended.reason, secrets)
    if ended.is_violation:
        return protocol_violation(reason, phase, connection_id=connection_id)
    return connection_closed(
        ended.code,
        reason,
        phase=f"websocket_{phase}",
        connection_id=connection_id,
        req_id=req_id,
    )


def gone(why: AvatarSDKError | None, connection_id: str | None) -> ConnectionGone:
    """Say that nothing can be sent any more.

    Args:
        why: What ended the connection; None: a side is hanging up, and the cause is near.
        connection_id: Its name.
    """
    if why is None:
        return ConnectionGone(
            AvatarSDKErrorCode.connectionClosed,
            "the connection is being closed",
            phase="websocket_send",
            connection_id=connection_id,
        )
    return ConnectionGone(
        why.code,
        why.message,
        phase="websocket_send",
        connection_id=connection_id,
        close_code=why.close_code,
        close_reason=why.close_reason,
    )
