"""Continuous batching on a real model: nobody's text depends on anybody else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_queue import fake_queues
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper_cases import alone, finish

from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest, RowResult

pytestmark = pytest.mark.models

SLOTS = 4


@pytest.fixture(scope="module")
def requests() -> list[RowRequest]:
    """One for each phrase, all different in kind."""
    return [
        RowRequest(max_tokens=60, previous=(2436, 1573, 11)),
        RowRequest(max_tokens=60, timestamps=True, draft=(50363, 464, 2068)),
        RowRequest(max_tokens=9, align=True),
    ]


@pytest.fixture(scope="module")
def expected(
    tiny: WhisperModel, english_states: list[Tensor], requests: list[RowRequest]
) -> list[RowResult]:
    return [
        alone(tiny, states, request)
        for states, request in zip(english_states, requests, strict=True)
    ]


def test_the_words_are_heard(tiny: WhisperModel, english_states: list[Tensor]) -> None:
    texts = [
        tiny.tokens.decode(alone(tiny, states, RowRequest(max_tokens=60)).tokens)
        for states in english_states
    ]
    assert "brown fox" in texts[1].lower()
    assert "hello" in texts[2].lower()


@pytest.mark.parametrize("cut", [0, 1, 5, 100])
def test_a_draft_changes_the_work_and_not_the_text(
    tiny: WhisperModel, english_states: list[Tensor], cut: int
) -> None:
    for states in english_states:
        plain = alone(tiny, states, RowRequest(max_tokens=60))
        wrong = (1212, *plain.tokens[1:]) if cut == 5 else plain.tokens
        drafted = alone(tiny, states, RowRequest(max_tokens=60, draft=wrong[:cut]))
        assert drafted.tokens == plain.tokens
        assert drafted.avg_logprob == pytest.approx(plain.avg_logprob, abs=1e-4)
        assert drafted.passes <= plain.passes
    assert cut != 100 or drafted.passes == 1


def test_a_long_draft_is_scored_in_pieces(tiny: WhisperModel, english_states: list[Tensor]) -> None:
    plain = alone(tiny, english_states[0], RowRequest(max_tokens=200))
    long = tuple(plain.tokens) + tuple(range(1000, 1150))
    drafted = alone(tiny, english_states[0], RowRequest(max_tokens=200, draft=long))
    assert drafted.tokens == plain.tokens
    assert drafted.no_speech_prob == pytest.approx(plain.no_speech_prob, abs=1e-5)
    assert drafted.passes == 1


@pytest.fixture(scope="module", params=["direct", "static", "graphs"])
def way(request: pytest.FixtureRequest, tiny: WhisperModel, whisper_tiny: Path) -> WhisperModel:
    """A CPU's way, and a GPU's with its graphs and without."""
    if request.param == "direct":
        return tiny
    graphs = request.param == "graphs"
    return WhisperModel(whisper_tiny, "cpu", "float32", SLOTS, graphs=graphs, queues=fake_queues())


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(moves=st.lists(st.integers(0, 9), min_size=4, max_size=20))
def test_joins_leaves_and_cancels_leak_nothing(
    way: WhisperModel,
    english_states: list[Tensor],
    requests: list[RowRequest],
    expected: list[RowResult],
    moves: list[int],
) -> None:
    """Whatever was in a slot before and whoever else is there: each text is that of it alone."""
    decoder = way.continuous()
    running: dict[int, int] = {}

    def check(finished: list[tuple[int, RowResult]]) -> None:
        for slot, result in finished:
            which = running.pop(slot)
            assert result.tokens == expected[which].tokens
            assert result.passes == expected[which].passes

    with torch.inference_mode():
        for move in moves:
            if move < 3 and decoder.free:
                running[decoder.join(requests[move], english_states[move])] = move
            elif move == 3 and running:
                decoder.leave(slot := min(running))
                del running[slot]
            else:
                check(decoder.step())
            assert decoder.free + len(decoder) == SLOTS
            assert len(decoder) == len(running)
    check(list(finish(decoder).items()))
    assert decoder.free == SLOTS
