"""Audio addressed by its place on the session's clock, and where to cut it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.track import Track, quietest
from engine.types import SAMPLE_RATE

pieces = st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 90_000)), max_size=30)


@given(pieces)
def test_a_slice_is_what_was_appended(pieces: list[tuple[int, int]]) -> None:
    track, sent, dropped = Track(), 0, 0
    for length, drop in pieces:
        track.append(np.arange(sent, sent + length, dtype=np.float32))
        sent += length
        track.drop_before(sent - drop)
        assert track.end == sent
        dropped = max(dropped, sent - drop)
        assert track.start == dropped
        held = track.slice(track.start, track.end)
        assert np.array_equal(held, np.arange(track.start, track.end, dtype=np.float32))


def test_memory_is_that_of_what_is_kept() -> None:
    track = Track()
    for _ in range(1000):
        track.append(np.zeros(SAMPLE_RATE, np.float32))
        track.drop_before(track.end - SAMPLE_RATE)
    assert track._buffer.nbytes <= 4 * 4 * SAMPLE_RATE


def test_one_long_chunk_leaves_no_memory_behind() -> None:
    track = Track()
    track.append(np.zeros(600 * SAMPLE_RATE, np.float32))
    track.drop_before(track.end)
    assert track._buffer.nbytes <= 4 * 4 * SAMPLE_RATE


def test_a_long_span_gives_its_memory_back_and_keeps_its_samples() -> None:
    track = Track()
    track.append(np.arange(60 * SAMPLE_RATE, dtype=np.float32))
    grown = track._buffer.nbytes
    track.drop_before(track.end - SAMPLE_RATE)
    assert track._buffer.nbytes < grown / 4
    held = track.slice(track.start, track.end)
    assert np.array_equal(held, np.arange(59 * SAMPLE_RATE, 60 * SAMPLE_RATE, dtype=np.float32))


def test_after_a_restart_samples_count_from_there() -> None:
    track = Track()
    track.append(np.ones(1000, np.float32))
    track.restart(700)
    track.append(np.full(5, 2, np.float32))
    assert (track.start, track.end) == (700, 705)
    assert track.slice(700, 705).tolist() == [2.0] * 5


def test_speech_is_cut_where_it_is_quietest() -> None:
    rng = np.random.default_rng(1)
    pcm = rng.normal(0, 0.2, 8 * SAMPLE_RATE).astype(np.float32)
    pcm[3 * SAMPLE_RATE : 3 * SAMPLE_RATE + 4800] *= 0.01
    assert abs(quietest(pcm) - (3 * SAMPLE_RATE + 2400)) < 1600


def test_a_sliver_is_cut_in_the_middle() -> None:
    assert quietest(np.ones(1600, np.float32)) == 800
