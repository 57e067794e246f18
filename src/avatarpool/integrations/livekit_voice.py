"""An agent's voice as LiveKit gives it to an avatar (the extra ``livekit``)."""

from __future__ import annotations

from collections.abc import Callable

from livekit import rtc
from livekit.agents.voice.avatar import QueueAudioOutput

from avatarpool.integrations.livekit_room import SAMPLE_RATE


class VoiceOutput(QueueAudioOutput):
    """An agent's voice, segment by segment, of which each is finished once.

    A segment is what is captured until `flush`. `clear_buffer` finishes all that were
    captured, and what still comes of the last one is dropped.

    Args:
        unheard: Called for each segment that was finished before anybody had taken its voice.
    """

    def __init__(self, unheard: Callable[[], object] = lambda: None) -> None:
        super().__init__(sample_rate=SAMPLE_RATE, wait_playback_start=True)
        self._unheard = unheard
        self._finished = 0  # segments
        self._is_captured = False  # whether a segment is, and was not flushed
        self._is_cut = False  # whether that one was cleared
        self._is_closed = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Take a piece of the voice; nothing waits here."""
        self._is_captured = True
        if not self._is_cut:
            await super().capture_frame(frame)

    def flush(self) -> None:
        """End the segment."""
        super().flush()
        self._is_captured = self._is_cut = False
        if self._is_closed:
            self.clear_buffer()

    def clear_buffer(self) -> None:
        """Cut off at once all that was captured, and finish it."""
        self._is_cut = self._is_captured
        super().clear_buffer()
        while self._finished < self.captured_playout_segments:  # whose voice nobody had taken
            self.notify_playback_finished(0.0, interrupted=True)
            self._unheard()

    def notify_playback_finished(self, playback_position: float, interrupted: bool) -> None:  # noqa: FBT001  # LiveKit's
        """Finish the first segment that is not finished.

        Args:
            playback_position: Seconds of it that were heard.
            interrupted: Whether it was cut off.
        """
        self._finished += 1
        super().notify_playback_finished(playback_position, interrupted)

    def close(self) -> None:
        """Finish everything, now and from now on, as nobody plays it any more."""
        self._is_closed = True
        self.clear_buffer()
