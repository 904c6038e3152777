"""Pieces of an utterance: nothing is lost, and each is due when a microphone would have it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.load.encodings import BLOB_MS, pieces, with_noise
from server.media.stream import AudioStream, Declared

SECONDS = 1.7
TIME = np.arange(int(SECONDS * 16_000)) / 16_000
PCM = (8000 * np.sin(2 * np.pi * 440 * TIME)).astype(np.int16)


def decoded(parts: list[tuple[float, bytes]], declared: Declared) -> np.ndarray:
    stream = AudioStream(declared)
    heard = []
    for _, data in parts:
        fed = stream.feed(data)
        assert fed.error is None
        heard.append(fed.pcm)
    heard.append(stream.end_segment().pcm)
    return np.concatenate(heard)


@pytest.mark.parametrize("encoding", ["pcm", "base64", "wav"])
def test_raw_samples_arrive_unchanged(encoding: str) -> None:
    parts = pieces(PCM, encoding, np.random.default_rng(0))  # type: ignore[arg-type]
    raw = encoding != "wav"
    heard = decoded(parts, Declared("pcm_s16le") if raw else Declared())
    np.testing.assert_allclose(heard, PCM / 32768, atol=1e-4)
    due = [due_s for due_s, _ in parts]
    np.testing.assert_allclose(due, [*np.arange(0.1, SECONDS - 0.01, 0.1), SECONDS])


def test_mulaw_comes_in_packets_of_20_ms_as_from_a_telephone() -> None:
    parts = pieces(PCM, "mulaw", np.random.default_rng(0))
    assert {len(data) for _, data in parts} == {160}
    np.testing.assert_allclose([due_s for due_s, _ in parts], np.arange(1, 86) * 0.02)
    heard = decoded(parts, Declared("mulaw", 8_000))
    assert len(heard) == pytest.approx(len(PCM), abs=40)
    np.testing.assert_allclose(heard[100:-100], PCM[100 : len(heard) - 100] / 32768, atol=0.02)


def test_webm_blobs_are_decoded_by_the_server_as_they_come() -> None:
    parts = pieces(PCM, "webm", np.random.default_rng(0))
    assert parts[0][1].startswith(b"\x1a\x45\xdf\xa3")
    due = np.array([due_s for due_s, _ in parts])
    assert due[-1] == SECONDS
    gaps_ms = np.diff(due)[:-1] * 1e3
    assert gaps_ms.min() >= BLOB_MS[0] - 21
    assert gaps_ms.max() <= BLOB_MS[1] + 21
    heard = decoded(parts, Declared())
    assert len(heard) == pytest.approx(len(PCM), abs=1600)
    spectrum = np.abs(np.fft.rfft(heard[2000:18_000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)


def test_noise_has_the_ratio_that_was_asked_for() -> None:
    noisy = with_noise(PCM, 12.0, np.random.default_rng(0)).astype(np.float64)
    noise = noisy - PCM
    ratio_db = 10 * np.log10(np.mean(PCM.astype(float) ** 2) / np.mean(noise**2))
    assert ratio_db == pytest.approx(12.0, abs=0.3)
