"""Whose frame and whose error is it: one answer for our sessions and the vendors'.

A session serves one request at a time, yet what it sends may belong to the current
request, to one that was interrupted, to none at all. The router follows a
session's requests and tells its observer; it does no I/O.
"""

from __future__ import annotations

from typing import Protocol

from avatarpool.exceptions import AvatarSDKError, AvatarSDKErrorCode
from avatarpool.protocol.messages import AnimationFrame, PlaybackState, ServerError
from avatarpool.protocol.refusals import protocol_violation
from avatarpool.protocol.requests import RequestLog


class SessionObserver(Protocol):
    """Who follows a session's requests; called from the event loop, never blocks."""

    def request_began(self, req_id: str) -> None:
        """A new request's first audio is about to be sent."""

    def request_settled(self) -> None:
        """The session's requests may all be over now."""

    def frame_received(self, frame: AnimationFrame) -> None:
        """A frame of the current request came."""

    def frame_dropped(self, frame: AnimationFrame) -> None:
        """A frame came that nobody waits for."""

    def playback(self, told: AnimationFrame | PlaybackState | ServerError) -> None:
        """The service told how a room plays a request: a frame's end is the playback's.

        So is an error.
        """

    def protocol_broken(self, error: AvatarSDKError) -> None:
        """The service did what it must not; no request suffered from it."""

    def request_failed(self, error: AvatarSDKError) -> None:
        """The service gave the current request up."""

    def request_doubted(self, error: AvatarSDKError) -> None:
        """An error came that may be an interrupted request's or the current one's."""

    def session_ended(self, error: AvatarSDKError | None) -> None:
        """The connection is gone; the error says why, None: it was closed from here."""


class Nobody:
    """Follows a session whose user has callbacks and no observer."""

    def _ignore(self, *what: object, **named: object) -> None:
        pass

    request_began = request_settled = frame_received = frame_dropped = _ignore
    playback = protocol_broken = _ignore
    request_failed = request_doubted = session_ended = _ignore


class Router:
    """Records what happens to a session's requests and tells the observer.

    Args:
        log: The session's requests.
        observer: Who follows them.
    """

    __slots__ = ("connection_id", "log", "observer")

    def __init__(self, log: RequestLog, observer: SessionObserver) -> None:
        self.log = log
        self.observer = observer
        self.connection_id: str | None = None  # once it is known

    def audio(self, *, end: bool, req_id: str | None = None) -> str:
        """Record a piece of audio before it is sent; return its request's id.

        Args:
            end: Whether it is the request's last piece.
            req_id: The id that a foreign session chose for a new request.

        Raises:
            SessionStateError: The previous request is still being answered.
        """
        req_id, is_new = self.log.audio(end=end, req_id=req_id)
        if is_new:
            self.observer.request_began(req_id)
        return req_id

    def settle(self) -> None:
        """Tell the observer if nothing is half-sent and no frame can come any more."""
        if self.log.is_settled:
            self.observer.request_settled()

    def frame(self, frame: AnimationFrame) -> bool:
        """Route a frame; return whether it is the current request's.

        Raises:
            AvatarSDKError: It belongs to no request that was ever made: whose it
                is nobody knows, the current request's perhaps.
        """
        end = frame.end
        wanted = self.log.frame(frame.req_id, end=end)
        if wanted:
            self.observer.frame_received(frame)
        else:
            self._unwanted(frame)
        if not self.log.expects_frames:  # as `playback` asks, without a call for each frame
            self.observer.playback(frame)
        if end:
            self.settle()
        return wanted

    def playback(self, told: AnimationFrame | PlaybackState | ServerError) -> None:
        """Pass on how a room plays; of a session without a room it would mean nothing."""
        if not self.log.expects_frames:
            self.observer.playback(told)

    def _unwanted(self, frame: AnimationFrame) -> None:
        self.observer.frame_dropped(frame)
        breach = self.log.breach(frame.req_id)
        if breach is None:
            return
        error = protocol_violation(breach, connection_id=self.connection_id)
        if not self.log.has_made(frame.req_id):
            raise error
        self.observer.protocol_broken(error)

    def error(self, error: AvatarSDKError) -> bool:
        """Route an error; return whether it ended the current request.

        One that names no request is about the current one, unless an interrupted
        one may still be answered: a service may answer an interrupt with an
        error. Then it fails nobody, and is kept for the case that nothing follows.
        Where the interrupted one's end was seen, that is so for an invalid request
        alone: the end may have crossed the interrupt, which had nothing to stop.
        """
        fading = None
        if not error.req_id:
            fading = self.log.fading
            if fading is None and error.code is AvatarSDKErrorCode.invalidRequest:
                fading = self.log.crossed
        req_id = error.req_id or fading or self.log.current
        wanted = req_id is not None and self.log.fail(req_id)
        if fading is not None:
            self.observer.request_doubted(error)
        elif wanted:
            self.observer.request_failed(error)
        if req_id is not None and fading is None:  # its audio may all have been sent
            self.playback(ServerError(0, error.message, req_id=req_id))
        self.settle()
        return wanted
