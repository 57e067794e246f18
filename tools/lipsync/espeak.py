"""espeak-ng through its C library: speech, and when each phone begins."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from labels import SAMPLE_RATE, Phone
from scipy.signal import resample_poly

_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEMES_IN_IPA = 1, 2
_RATE, _PITCH, _RANGE = 1, 3, 4
_POSITION_IS_CHARACTERS, _UTF8 = 1, 1
_PHONEME = 7
_PHONEME_BYTES = 8


class _Identity(ctypes.Union):
    _fields_: ClassVar[Any] = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * _PHONEME_BYTES),
    ]


class _Event(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class UnknownVoice(Exception):
    """espeak-ng has no such voice."""


class Espeak:
    """The synthesiser; one a process, as its library keeps one state."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        options = _PHONEME_EVENTS | _PHONEMES_IN_IPA
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, options)
        self._pieces: list[npt.NDArray[np.int16]] = []
        self._begins: list[tuple[float, str]] = []
        self._callback = _CALLBACK(self._take)  # kept: the library has only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(
        self, text: str, voice: str, *, words_per_minute: int, pitch: int
    ) -> tuple[npt.NDArray[np.float32], list[Phone]]:
        """Return the speech at 16 kHz, full scale 1, and its phones.

        Args:
            text: In the voice's language.
            voice: Such as ``en-us`` or ``en-us+f3``.
            words_per_minute: 80 to 450.
            pitch: 0 to 99.

        Raises:
            UnknownVoice: There is no such voice.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UnknownVoice(voice)
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, 50)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        self._begins.clear()
        data = text.encode()
        self._library.espeak_Synth(
            data, len(data) + 1, 0, _POSITION_IS_CHARACTERS, 0, _UTF8, None, None
        )
        wave = np.concatenate([np.zeros(0, np.int16), *self._pieces]).astype(np.float32) / 32768
        ends = [start for start, _ in self._begins[1:]] + [len(wave) / self._rate]
        phones = [
            Phone(start, end, ipa) for (start, ipa), end in zip(self._begins, ends, strict=False)
        ]
        return resample_poly(wave, SAMPLE_RATE // 50, self._rate // 50).astype(np.float32), phones

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _PHONEME:
                address = ctypes.addressof(events[i].id)
                ipa = ctypes.string_at(address, _PHONEME_BYTES).split(b"\0")[0]
                seconds = events[i].audio_position_ms / 1000
                self._begins.append((seconds, ipa.decode("utf-8", "replace")))
            i += 1
        return 0
