"""The pass of a GPU, on a CPU: padding, pieces and graphs change nobody's text, and the host
waits once."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from fake_queue import FakeQueue, fake_queues
from host_reads import HostReads
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from whisper_cases import alone, encode, finish, read_phrase

from engine.whisper.continuous import ContinuousDecoder
from engine.whisper.model import WhisperModel
from engine.whisper.packed import Span
from engine.whisper.passes import Feed
from engine.whisper.pick import RowRule, plain_rule
from engine.whisper.row import RowRequest, RowResult
from engine.whisper.static_pass import StaticPass
from engine.whisper.static_rows import DeviceRows, HostRows, PieceSizes, Room
from kernels.dispatch import REFERENCE
from kernels.graphs import bucket
from kernels.slot_attention import cut_tiles

CPU = torch.device("cpu")

REQUESTS = [
    RowRequest(max_tokens=40, draft=(464, 2068, 999), timestamps=True),
    RowRequest(max_tokens=60, previous=tuple(range(1000, 1150))),
    RowRequest(max_tokens=20, align=True),
    RowRequest(max_tokens=20, temperature=0.8, seed=7),
    RowRequest(max_tokens=30, draft=tuple(range(1000, 1040))),
]


@pytest.fixture(scope="module")
def model(whisper_tiny: Path) -> WhisperModel:
    return WhisperModel(whisper_tiny, "cpu", "float32", slots=5, queues=fake_queues())


@pytest.fixture(scope="module")
def expected(tiny: WhisperModel, english_states: list[Tensor]) -> list[RowResult]:
    return [alone(tiny, heard(english_states, i), each) for i, each in enumerate(REQUESTS)]


def heard(states: list[Tensor], which: int) -> Tensor:
    return states[which % len(states)]


def queue_of(model: WhisperModel) -> FakeQueue:
    assert model.queues is not None
    return cast(FakeQueue, model.queues.decoder)


def join_all(decoder: ContinuousDecoder, states: list[Tensor]) -> list[int]:
    with torch.inference_mode():
        return [decoder.join(each, heard(states, i)) for i, each in enumerate(REQUESTS)]


def check(results: dict[int, RowResult], slots: list[int], expected: list[RowResult]) -> None:
    for slot, same in zip(slots, expected, strict=True):
        result = results[slot]
        assert result.tokens == same.tokens
        assert result.passes == same.passes
        assert result.log_probabilities == pytest.approx(same.log_probabilities, abs=1e-3)
        assert result.no_speech_prob == pytest.approx(same.no_speech_prob, abs=1e-5)
        assert (result.attention is None) == (same.attention is None)
        if result.attention is not None and same.attention is not None:
            torch.testing.assert_close(result.attention, same.attention, rtol=1e-3, atol=1e-4)


@pytest.mark.models
def test_together_equals_alone(
    model: WhisperModel, english_states: list[Tensor], expected: list[RowResult]
) -> None:
    decoder = model.continuous()
    slots = join_all(decoder, english_states)
    check(finish(decoder), slots, expected)


@pytest.mark.models
def test_a_pass_that_is_cut_into_pieces_is_the_same(
    model: WhisperModel,
    english_states: list[Tensor],
    expected: list[RowResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = model.continuous()
    way = decoder._decoder
    assert isinstance(way, StaticPass)
    feeds: list[int] = []
    launch = way.launch
    monkeypatch.setattr(way, "launch", lambda all: (feeds.append(len(all)), launch(all))[1])
    monkeypatch.setattr(way, "rows", 170)  # the longest opening has more than 150
    slots = join_all(decoder, english_states)
    check(finish(decoder), slots, expected)
    assert feeds[0] == 2
    assert feeds[-1] == 1


@pytest.mark.models
@pytest.mark.parametrize("graphs", [False, True])
def test_the_host_waits_once_a_pass_and_reads_nothing_else(
    whisper_tiny: Path,
    english_states: list[Tensor],
    monkeypatch: pytest.MonkeyPatch,
    graphs: bool,
) -> None:
    reads = HostReads()
    unseen = [reads.as_a_kernel(f) for f in (REFERENCE.slot_attention, REFERENCE.token_pick)]
    operations = REFERENCE._replace(slot_attention=unseen[0], token_pick=unseen[1])
    monkeypatch.setattr("engine.whisper.decoder.operations_for", lambda *_: operations)
    monkeypatch.setattr("engine.whisper.pick.operations_for", lambda *_: operations)
    queues = fake_queues()
    model = WhisperModel(whisper_tiny, "cpu", "float32", 5, graphs=graphs, queues=queues)
    decoder, queue = model.continuous(), cast(FakeQueue, queues.decoder)
    with torch.inference_mode(), reads.watch():
        for i, request in enumerate(REQUESTS):
            decoder.join(request, heard(english_states, i))
        assert queue.waits == 0
        while len(decoder):
            before = queue.waits
            decoder.step()
            assert queue.waits == before + 1
    assert reads.names == []


@pytest.mark.models
def test_reads_are_found(tiny: WhisperModel, english_states: list[Tensor]) -> None:
    """The way of a CPU reads all the time: the test above can fail."""
    reads, decoder = HostReads(), tiny.continuous()
    with torch.inference_mode(), reads.watch():
        decoder.join(RowRequest(max_tokens=3), english_states[0])
        decoder.step()
    assert {"__getitem__", "tolist", "__float__"} <= set(reads.names)
    decoder.leave(next(iter(decoder._rows)))


@pytest.mark.models
def test_attention_comes_with_the_next_pass(
    model: WhisperModel, english_states: list[Tensor]
) -> None:
    """A row that is fed again for its attention holds up nobody, and nobody waits twice."""
    decoder, queue = model.continuous(), queue_of(model)
    short = RowRequest(max_tokens=1, align=True)
    with torch.inference_mode():
        aligned = decoder.join(short, english_states[0])
        other = decoder.join(RowRequest(max_tokens=60), english_states[1])
        assert decoder.step() == []  # it has its text, and its attention is being fetched
        waits = queue.waits
        assert [slot for slot, _ in decoder.step()] == [aligned]
        assert queue.waits == waits + 1
        decoder.leave(other)
        last = decoder.join(short, english_states[0])
        assert decoder.step() == []
        assert [slot for slot, _ in decoder.step()] == [last]  # nothing else to do: wait for it
        assert queue.waits == waits + 3
        again = decoder.join(short, english_states[0])
        decoder.step()
        decoder.leave(again)  # cancelled while its attention is fetched
        assert decoder.step() == []
        assert queue.waits == waits + 4
    assert len(decoder) == 0


@pytest.mark.models
def test_every_size_is_captured_before_it_is_needed(whisper_tiny: Path) -> None:
    queues = fake_queues()
    model = WhisperModel(whisper_tiny, "cpu", "float32", slots=2, queues=queues)
    queue, decoder = cast(FakeQueue, queues.decoder), model.continuous()
    way = decoder._decoder
    assert isinstance(way, StaticPass)
    worked: list[tuple[str, int]] = []
    for name in ("_feed_one", "_feed_many", "_choose", "_open"):
        replays = getattr(way, name)
        replays._work = lambda size, name=name: worked.append((name, size))
    with torch.inference_mode():
        decoder.prepare()
    assert len(worked) == len(queue.graphs) == len(set(worked))
    assert [size for name, size in worked if name == "_feed_one"] == [2, 1]
    assert [size for name, size in worked if name == "_choose"][:2] == [512, 448]


def test_questions_and_padding() -> None:
    """What a piece writes down, after a larger one was there before."""
    room = Room(rows=32, slots=3, languages=2)
    device, host = DeviceRows(room, CPU), HostRows(room, CPU)
    rule = RowRule(plain_rule(0))
    spans = (Span(0, 0, tuple(range(20))), Span(2, 5, (7,)))
    host.ask(Feed(spans, (19, 20), (rule, rule), (3,), ()), PieceSizes(24, 2, 1, True))
    small = Feed((Span(1, 4, (9,)), Span(0, 20, (8, 6))), (0, 2), (rule, rule), (), (1,))
    host.ask(small, PieceSizes(rows=8, wanted=4, starts=2, tiled=True))
    device.asked.copy_(host.asked)
    table = device.table(8, tiled=True)
    assert table.tokens.tolist() == [9, 8, 6, 0, 0, 0, 0, 0]
    assert table.positions.tolist() == [4, 20, 21, 0, 0, 0, 0, 0]
    assert table.slots.tolist() == [1, 0, 0, 3, 3, 3, 3, 3]
    assert table.lengths.tolist() == [5, 21, 22, 0, 0, 0, 0, 0]
    assert table.tiles is not None
    assert table.tiles.tolist() == [[0, 1], [1, 2], [3, 5], [0, 0]]
    assert device.wanted[:4].tolist() == [0, 2, 0, 0]
    assert device.rules[:4].tolist() == [[1, 0, 0, 0]] * 2 + [[0, 0, 0, 0]] * 2
    assert device.starts[:2].tolist() == [1, 0]
    device.blank()
    assert device.table(32, tiled=False).slots.tolist() == [3] * 32


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_there_are_tiles_for_whatever_spans_a_piece_holds(sizes: list[int]) -> None:
    rows = bucket(sum(sizes))
    owners = [slot for slot, size in enumerate(sizes) for _ in range(size)]
    padding = [len(sizes)] * (rows - len(owners))
    room = Room(rows, slots=len(sizes), languages=2)
    assert len(cut_tiles([*owners, *padding])) <= room.tiles(rows)


@pytest.mark.models
def test_languages_are_as_likely_as_in_the_plain_pass(whisper_base: Path, phrases: Path) -> None:
    requests = [
        RowRequest(max_tokens=8),
        RowRequest(max_tokens=8, languages=("en", "it")),
        RowRequest(max_tokens=8, language="en"),
        RowRequest(max_tokens=8, last_language="fr"),
    ]
    names = ["fr/comptage", "es/conteo", "en/counting", "es/conteo"]
    found = []
    for queues in (None, fake_queues()):
        model = WhisperModel(whisper_base, "cpu", "float32", slots=4, queues=queues)
        decoder = model.continuous()
        with torch.inference_mode():
            for name, request in zip(names, requests, strict=True):
                decoder.join(request, encode(model, read_phrase(phrases, name)))
        found.append([result for _, result in sorted(finish(decoder).items())])
    plain, static = found
    assert [result.language for result in static] == [result.language for result in plain]
    assert {"fr", "es", "en"} <= {result.language for result in plain}
    likely = [[result.language_probability for result in results] for results in found]
    assert likely[0].count(None) == 1
    assert likely[1] == pytest.approx(likely[0], abs=1e-3)
    assert min(one for one in likely[0] if one is not None) > 0.3
