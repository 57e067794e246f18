from __future__ import annotations

import numpy as np
import pytest

from avatarpool.lipsync.features import BANDS, FEATURES, MelBank, Normaliser
from avatarpool.protocol.settings import PCM_SAMPLE_RATES

SILENCE = float(np.log(1e-9))


def tone(bank_rate: int, hertz: float, amplitude: float = 0.1) -> np.ndarray:
    bank = MelBank(bank_rate)
    time = np.arange(bank.span_samples) / bank_rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
@pytest.mark.parametrize("hertz", [200, 1000, 3000])
def test_a_tone_is_as_strong_at_every_rate_and_in_one_place(sample_rate, hertz):
    rows = MelBank(sample_rate).rows(tone(sample_rate, hertz))
    reference = MelBank(16000).rows(tone(16000, hertz))

    assert rows.shape == (4, BANDS)
    assert np.all(rows.argmax(axis=1) == reference.argmax(axis=1))
    assert rows.max(axis=1) == pytest.approx(reference.max(axis=1), abs=0.3)


@pytest.mark.parametrize("sample_rate", PCM_SAMPLE_RATES)
def test_only_at_8_khz_are_there_bands_beyond_the_rate(sample_rate):
    assert MelBank(sample_rate).heard.all() == (sample_rate > 8000)


def test_a_constant_offset_is_silence():
    bank = MelBank(16000)

    assert bank.rows(np.full(bank.span_samples, 0.5, np.float32)) == pytest.approx(SILENCE)


def test_a_block_is_40_ms_at_every_rate():
    assert [MelBank(rate).block_samples * 25 for rate in PCM_SAMPLE_RATES] == list(PCM_SAMPLE_RATES)


def test_bands_are_relative_to_their_mean_and_the_level_is_absolute():
    prior = np.full(BANDS, -12.0, np.float32)
    normaliser = Normaliser(prior, np.ones(BANDS, bool))
    loud = np.full((4, BANDS), -6.0, np.float32)
    first = normaliser.normalise(loud)
    for _ in range(500):
        last = normaliser.normalise(loud)

    assert first.shape == (4, FEATURES)
    assert first[:, :BANDS] == pytest.approx(6.0, abs=0.5)
    assert last[:, :BANDS] == pytest.approx(0.0, abs=0.1)
    assert np.all(first[:, BANDS] == last[:, BANDS])


def test_silence_says_nothing_of_the_voice():
    prior = np.full(BANDS, -12.0, np.float32)
    quiet = np.full((4, BANDS), SILENCE, np.float32)
    normaliser = Normaliser(prior, np.ones(BANDS, bool))

    assert np.all(normaliser.normalise(quiet) == normaliser.normalise(quiet))


def test_bands_that_a_rate_does_not_carry_are_0():
    heard = MelBank(8000).heard
    normaliser = Normaliser(np.zeros(BANDS, np.float32), heard)
    features = normaliser.normalise(np.full((4, BANDS), -20.0, np.float32))

    assert np.all(features[:, :BANDS][:, ~heard] == 0.0)
    assert np.all(features[:, :BANDS][:, heard] < -15.0)
