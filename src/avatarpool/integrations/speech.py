"""An agent's speech over a pool or a group: its voice in pieces in, voice and face in step out.

What a voice agent's framework needs is thin over this: it pushes what its text-to-speech
gives, has a task of its own take what goes out, and interrupts. `playout` decides what goes
when, `face_request` borrows, sends and receives.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import inf

from avatarpool.audio.raw import check_raw
from avatarpool.exceptions import ConfigurationError, SessionStateError
from avatarpool.fleet import AvatarPoolGroup
from avatarpool.integrations.face_request import FaceRequest
from avatarpool.integrations.playout import Playout
from avatarpool.integrations.turn import Item, Turn, Voice
from avatarpool.pool import AvatarConnectionPool, PooledConnection
from avatarpool.pool.arguments import check_number, negative
from avatarpool.protocol.frames import AnimationFrame
from avatarpool.protocol.settings import DEFAULT_SAMPLE_RATE, PCM_SAMPLE_RATES

Sessions = AvatarConnectionPool | AvatarPoolGroup


class Speech:
    """One agent's turns, each animated by a session that is borrowed for it.

    A turn borrows at its first audio and returns at its last frame. An agent has one session
    at a time, and its turns go out in the order in which they began. Whatever becomes of its
    face, a voice is heard: `FaceLost` says why it goes on alone. Each turn ends with one
    `Finished`.

    A framework has a task that takes what goes out::

        while True:
            await speech.ready()
            for item in speech.take():
                ...  # Face: show it with the Voice behind it; Voice: play it; ...

    It may take early, and play what it took one after another: `heard` tells how much of
    that is still to be played, where the framework knows. All calls are made in the event
    loop in which it was made.

    Args:
        sessions: Lends them; its owner opens and closes it.
        avatar_id: The avatar to ask a group for; a pool's sessions have theirs.
        sample_rate: What to ask a group for; a pool's sessions have theirs. Audio of other
            rates is resampled for the face.
        face_wait: Seconds for which a turn's voice waits for its face, at most, and again
            after a gap: it is never heard later by more than that than it would be alone.
        timeout: Seconds for which a turn waits for a session; without one it has no face.

    Raises:
        ConfigurationError: The arguments do not go together.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        avatar_id: str | None = None,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        face_wait: float = 0.3,
        timeout: float = 5.0,
    ) -> None:
        what = "a speech cannot have a face"
        check_number(what, face_wait=face_wait, timeout=timeout)
        problems = negative(face_wait=face_wait, timeout=timeout)
        if not isinstance(sessions, Sessions):
            problems.append(f"sessions is no pool and no group but a {type(sessions).__name__}")
        elif not isinstance(avatar_id, str | None):
            problems.append(f"avatar_id is no text but a {type(avatar_id).__name__}")
        elif isinstance(sessions, AvatarPoolGroup) != bool(avatar_id):
            problems.append("a group is asked for an avatar_id, and a pool's sessions have theirs")
        if not isinstance(sample_rate, int) or sample_rate not in PCM_SAMPLE_RATES:
            rates = ", ".join(map(str, PCM_SAMPLE_RATES))
            problems.append(f"sample_rate {sample_rate!r} is none of {rates}")
        if problems:
            raise ConfigurationError(what, problems)
        self._sessions = sessions
        self._avatar_id = avatar_id
        self._sample_rate = sample_rate
        self._timeout = timeout
        self._playout = Playout(face_wait)
        self._requests: dict[Turn, FaceRequest] = {}  # whose tasks are not done
        self._stirred = asyncio.Event()  # something came that may go out
        self._taken = asyncio.Event()  # something was taken

    def __repr__(self) -> str:
        return f"<Speech over {self._sessions!r}, {self._playout!r}>"

    # --- what comes -----------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a turn's voice comes now."""
        return self._playout.open is not None

    def begin(self, turn: str | None = None, *, is_protected: bool = False) -> None:
        """Begin a turn; one that is open has ended by that.

        Args:
            turn: Its name, in whatever goes out of it.
            is_protected: Whether interruptions pass it by.
        """
        if self.is_open:
            self.end()
        self._playout.begin(turn, is_protected=is_protected)

    def push(
        self, audio: bytes, sample_rate: int, channels: int = 1, *, origin: object = None
    ) -> None:
        """Take a piece of the open turn's voice; nothing waits here.

        Args:
            audio: 16-bit PCM of any length but none.
            sample_rate: Samples per second, 4000 to 384,000.
            channels: Side by side, 64 at most; the face hears them mixed.
            origin: Comes back with what goes out of it.

        Raises:
            AudioError: That cannot be audio; nothing of it was taken.
            SessionStateError: No turn is open.
        """
        turn = self._playout.open
        if turn is None:
            raise SessionStateError("no turn is open: begin one before its audio")
        check_raw(audio, sample_rate, channels)
        audio = bytes(audio)  # it could change before it goes out
        is_first = not turn.voice_ms
        self._playout.voice(Voice(turn.name, audio, sample_rate, channels, origin), self._now())
        if is_first:
            self._ask(turn)
        if turn in self._requests:
            self._requests[turn].push(audio, sample_rate, channels)
        self._stirred.set()

    def end(self, *, origin: object = None) -> None:
        """The open turn's voice is complete; its last face and its `VoiceEnd` follow.

        Raises:
            SessionStateError: No turn is open.
        """
        turn = self._playout.open
        if turn is None:
            raise SessionStateError("no turn is open: there is nothing to end")
        self._playout.end(origin)
        if turn in self._requests:
            self._requests[turn].end()
        self._stirred.set()

    def aside(self, payload: object, *, is_protected: bool = False) -> None:
        """Take what is to go out in its place among the pieces, as an `Aside`.

        Args:
            payload: Anything.
            is_protected: Whether interruptions pass it by.
        """
        self._playout.aside(payload, is_protected=is_protected)
        self._stirred.set()

    def heard(self, ahead: float) -> None:
        """Say how many seconds of the voice that was taken are yet to be heard.

        Without this it is reckoned as if each piece were played as it is taken.
        """
        self._playout.heard_until = self._now() + ahead
        self._stirred.set()

    def interrupt(self, *, everything: bool = False) -> None:
        """Cut off all turns at once: nothing of them can be taken from now on but their ends.

        The service is told in the background, and sessions return.

        Args:
            everything: Whether what is protected ends as well.
        """
        self._playout.interrupt(self._now(), everything=everything)
        self._stop_requests()
        self._stirred.set()

    # --- what goes out --------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait until `take` has something; for one task."""
        while True:
            self._stirred.clear()
            now = self._now()
            at = self._playout.next_at(now)
            if at <= now:
                return
            try:
                async with asyncio.timeout_at(None if at == inf else at):
                    await self._stirred.wait()
            except TimeoutError:
                return

    def take(self) -> tuple[Item, ...]:
        """Return what goes out next, and all of it together; nothing, if nothing does yet."""
        items = self._playout.take(self._now())
        self._stop_requests()
        self._taken.set()
        return items

    async def idle(self) -> None:
        """Wait until all that came was taken, and every turn's end."""
        while not self._playout.is_idle:
            self._taken.clear()
            await self._taken.wait()

    async def aclose(self) -> None:
        """End all turns, and wait until their sessions are returned; the ends can be taken."""
        self.interrupt(everything=True)
        if self._requests:
            await asyncio.wait([request.task for request in self._requests.values()])

    # --- the face -------------------------------------------------------------------------

    def _ask(self, turn: Turn) -> None:
        """Have a turn animated, after those that are."""
        before = next(reversed(self._requests.values()), None)
        answer = _Answer(turn, self._playout, self._stirred)
        request = FaceRequest(self._lend, answer, before)
        self._requests[turn] = request
        request.task.add_done_callback(lambda _: self._requests.pop(turn))

    def _lend(self) -> PooledConnection:
        if isinstance(self._sessions, AvatarConnectionPool):
            return self._sessions.borrow(self._timeout)
        assert self._avatar_id is not None
        return self._sessions.borrow(
            self._avatar_id, sample_rate=self._sample_rate, timeout=self._timeout
        )

    def _stop_requests(self) -> None:
        """Stop those whose turns are over: nobody will see more of their faces."""
        for turn, request in self._requests.items():
            if turn.is_over:
                request.stop()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class _Answer:
    """Takes the face of one turn."""

    turn: Turn
    playout: Playout
    stirred: asyncio.Event

    def frame(self, frame: AnimationFrame, keyframes: int) -> None:
        self.playout.face(self.turn, frame, keyframes)
        self.stirred.set()

    def over(self, error: Exception | None) -> None:
        self.playout.face_over(self.turn, error)
        self.stirred.set()
