"""Ogg Opus to PCM, packet by packet (RFC 7845, RFC 6716; extra ``audio``)."""

from __future__ import annotations

import importlib.util
import struct
from collections import deque
from typing import TYPE_CHECKING

from avatarpool.protocol import opus
from avatarpool.service.decoding import AudioRefused
from avatarpool.service.ogg import OggReader, Page

if TYPE_CHECKING:
    import av

SAMPLE_RATE = opus.OPUS_RATE
_SAMPLE_BYTES = 2

_HEAD = struct.Struct("<8sBBHIhB")


def is_available() -> bool:
    """Whether Ogg Opus can be decoded here."""
    return importlib.util.find_spec("av") is not None


class OpusDecoder:
    """Decodes one Ogg Opus stream as it comes; a `Decoder`.

    Packets wait undecoded until they are pulled, so that a step's work is
    bounded although two bytes may stand for 120 ms. Those that the stream says
    to drop count as well, and are never decoded where nothing depends on them.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self) -> None:
        self.decoded_samples = 0
        self._reader = OggReader()
        self._headers_due = ["OpusHead", "OpusTags"]
        # Packets, the samples that they decode to, and how many of those to keep.
        self._waiting: deque[tuple[bytes, int, int]] = deque()
        self._granule = 0  # of the page before
        self._skip = 0  # samples of the encoder's run-up that are left to drop
        self._codec: _Codec | None = None

    def push(self, data: bytes) -> None:
        """Take bytes of the stream.

        Raises:
            AudioRefused: They are no Ogg Opus.
        """
        for page in self._reader.feed(data):
            self._take(page)

    def pull(self, max_samples: int) -> bytes:
        """Decode ``max_samples``, the last packet whole; return what is kept of them.

        Raises:
            AudioRefused: One of the packets is broken.
        """
        pcm = bytearray()
        enough = self.decoded_samples + max_samples
        while self._waiting and self.decoded_samples < enough:
            packet, samples, keep = self._waiting.popleft()
            self.decoded_samples += samples  # a broken packet is work, too
            assert self._codec is not None
            decoded = self._codec.decode(packet)[: keep * _SAMPLE_BYTES]
            dropped = min(self._skip, len(decoded) // _SAMPLE_BYTES)
            self._skip -= dropped
            pcm += decoded[dropped * _SAMPLE_BYTES :]
        return bytes(pcm)

    @property
    def is_drained(self) -> bool:
        """Whether no packet waits."""
        return not self._waiting

    def finish(self) -> None:
        """Check that the stream does not break off in a page.

        Raises:
            AudioRefused: It does.
        """
        self._reader.finish()

    def _take(self, page: Page) -> None:
        packets = page.packets
        while self._headers_due and packets:
            self._take_header(packets[0])
            packets = packets[1:]
        if not packets:
            return
        # On the last page, the granule position says how much of it to keep.
        keep = max(0, page.granule - self._granule) if page.is_last else None
        self._granule = page.granule
        for packet in packets:
            samples = kept = packet_samples(packet)
            if keep is not None:
                kept = min(samples, keep)
                keep -= kept
            if kept:  # or else it is behind all that is kept, and nothing needs it
                self._waiting.append((packet, samples, kept))

    def _take_header(self, packet: bytes) -> None:
        name = self._headers_due.pop(0)
        if not packet.startswith(name.encode()):
            raise AudioRefused(f"ogg stream has no {name} where it should be")
        if name == "OpusHead":
            self._skip = _run_up(packet)
            self._codec = _Codec(packet)


def packet_samples(packet: bytes) -> int:
    """Return how many samples an Opus packet decodes to.

    Raises:
        AudioRefused: It is empty, or longer than 120 ms.
    """
    if not packet:
        raise AudioRefused("opus packet is empty")
    samples = opus.packet_samples(packet)
    if not 0 < samples <= opus.MAX_PACKET_SAMPLES:
        raise AudioRefused(f"opus packet of {samples} samples")
    return samples


def _run_up(head: bytes) -> int:
    if len(head) < _HEAD.size:
        raise AudioRefused(f"OpusHead has {len(head)} bytes")
    _, version, channels, run_up, _, _, family = _HEAD.unpack_from(head)
    if version >> 4 or family != 0 or channels not in (1, 2):
        raise AudioRefused(
            f"OpusHead of version {version}, mapping family {family}, {channels} channels"
        )
    return int(run_up)


class _Codec:
    """PyAV's decoder and the step from its samples to ours."""

    def __init__(self, head: bytes) -> None:
        import av  # noqa: PLC0415  # optional, and slow to load: in a worker, when needed

        self._packet = av.Packet
        self._error: type[Exception] = av.FFmpegError
        self._context: av.AudioCodecContext = av.CodecContext.create("opus", "r")
        # Without its pre-skip: some versions of FFmpeg drop the run-up by
        # themselves, and it must be dropped once.
        self._context.extradata = head[:10] + bytes(2) + head[12:]
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)

    def decode(self, packet: bytes) -> bytes:
        try:
            return b"".join(
                bytes(mono.planes[0])[: mono.samples * _SAMPLE_BYTES]
                for frame in self._context.decode(self._packet(packet))
                for mono in self._resampler.resample(frame)
            )
        except self._error as error:
            raise AudioRefused("opus packet cannot be decoded") from error
