from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.vad.endpointer import FRAME_SAMPLES, Endpointer, EndpointerConfig, Started, Stopped

CONFIG = EndpointerConfig(
    threshold=0.5,
    exit_threshold=0.3,
    min_speech_samples=3 * FRAME_SAMPLES,
    min_silence_samples=4 * FRAME_SAMPLES,
    padding_samples=2 * FRAME_SAMPLES,
)
SPEECH, BETWEEN, SILENCE = 0.9, 0.4, 0.1

probabilities = st.lists(st.sampled_from([SPEECH, BETWEEN, SILENCE]), max_size=120)
configs = st.builds(
    EndpointerConfig,
    threshold=st.just(0.5),
    exit_threshold=st.sampled_from([0.3, 0.5]),
    min_speech_samples=st.integers(1, 6 * FRAME_SAMPLES),
    min_silence_samples=st.integers(1, 10 * FRAME_SAMPLES),
    padding_samples=st.integers(0, 12 * FRAME_SAMPLES),
)


def feed(endpointer: Endpointer, frames: list[float]) -> list[Started | Stopped]:
    return [event for p in frames if (event := endpointer.push(p)) is not None]


def frames(count: float) -> int:
    return int(count * FRAME_SAMPLES)


def test_speech_starts_after_the_minimum_and_keeps_its_padding() -> None:
    endpointer = Endpointer(CONFIG)
    assert feed(endpointer, [SILENCE] * 10 + [SPEECH] * 2) == []
    assert not endpointer.in_speech
    assert endpointer.push(SPEECH) == Started(frames(8))
    assert endpointer.in_speech
    assert endpointer.speech_start == frames(8)


def test_speech_stops_after_the_minimum_of_silence() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, [SPEECH] * 5)
    assert feed(endpointer, [SILENCE] * 3) == []
    assert endpointer.push(SILENCE) == Stopped(0, frames(7), frames(5))
    assert not endpointer.in_speech
    assert endpointer.speech_start is None


def test_a_short_pause_belongs_to_the_speech() -> None:
    endpointer = Endpointer(CONFIG)
    events = feed(endpointer, [SPEECH] * 4 + [SILENCE] * 3 + [SPEECH] * 4 + [SILENCE] * 4)
    assert events == [Started(0), Stopped(0, frames(13), frames(11))]


def test_frames_between_the_thresholds_go_on_but_do_not_begin() -> None:
    endpointer = Endpointer(CONFIG)
    assert feed(endpointer, [BETWEEN] * 50) == []
    assert feed(endpointer, [SPEECH] + [BETWEEN] * 20) == [Started(frames(48))]
    assert endpointer.in_speech


def test_frames_between_the_thresholds_do_not_end_a_silence() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, [SPEECH] * 5)
    events = feed(endpointer, [SILENCE, BETWEEN, BETWEEN, BETWEEN])
    assert events == [Stopped(0, frames(7), frames(5))]


def test_a_click_starts_nothing() -> None:
    endpointer = Endpointer(CONFIG)
    assert feed(endpointer, ([SPEECH] + [SILENCE] * 6) * 5) == []
    assert endpointer.flush() is None


def test_padding_never_reaches_into_the_span_before() -> None:
    endpointer = Endpointer(CONFIG)
    first = feed(endpointer, [SPEECH] * 5 + [SILENCE] * 4)[-1]
    second = feed(endpointer, [SPEECH] * 5)[0]
    assert isinstance(first, Stopped)
    assert isinstance(second, Started)
    assert first.at_sample == frames(7)
    assert second.at_sample == frames(7)


def test_flush_stops_speech_that_goes_on() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, [SPEECH] * 5 + [SILENCE])
    assert endpointer.flush() == Stopped(0, frames(6), frames(5))
    assert not endpointer.in_speech
    assert endpointer.flush() is None


def test_flush_keeps_a_short_word_at_the_end() -> None:
    endpointer = Endpointer(CONFIG)
    assert feed(endpointer, [SILENCE] * 10 + [SPEECH] * 2) == []
    assert endpointer.flush() == Stopped(frames(8), frames(12), frames(12))


def test_flush_drops_a_click_at_the_end() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, [SILENCE] * 10 + [SPEECH])
    assert endpointer.flush() is None


def test_after_a_flush_no_span_reaches_back() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, [SPEECH] * 5)
    endpointer.flush()
    assert feed(endpointer, [SPEECH] * 3) == [Started(frames(5))]


def test_reset_forgets_and_sets_the_clock() -> None:
    endpointer = Endpointer(CONFIG)
    feed(endpointer, [SPEECH] * 5)
    endpointer.reset(at_sample=100)
    assert not endpointer.in_speech
    assert endpointer.flush() is None
    assert feed(endpointer, [SPEECH] * 3) == [Started(100)]


def test_a_config_with_crossed_thresholds_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        EndpointerConfig(threshold=0.3, exit_threshold=0.5)


def run(
    config: EndpointerConfig, stream: list[float]
) -> tuple[list[Started | Stopped], Endpointer]:
    endpointer = Endpointer(config)
    events = feed(endpointer, stream)
    last = endpointer.flush()
    return [*events, *([last] if last else [])], endpointer


@given(config=configs, stream=probabilities)
def test_spans_are_ordered_disjoint_and_inside_the_stream(
    config: EndpointerConfig, stream: list[float]
) -> None:
    events, endpointer = run(config, stream)
    end = 0
    for span in (event for event in events if isinstance(event, Stopped)):
        assert end <= span.start_sample < span.speech_end_sample <= span.at_sample
        end = span.at_sample
    assert end <= endpointer.now_sample == frames(len(stream))


@given(config=configs, stream=probabilities)
def test_starts_and_stops_alternate_and_agree(
    config: EndpointerConfig, stream: list[float]
) -> None:
    events, _ = run(config, stream)
    for i, event in enumerate(events):
        if isinstance(event, Started):
            stop = events[i + 1]
            assert isinstance(stop, Stopped)
            assert stop.start_sample == event.at_sample
        elif i + 1 < len(events):  # only a flush may stop what never started
            assert i > 0
            assert isinstance(events[i - 1], Started)


@given(config=configs, stream=probabilities)
def test_every_span_holds_the_minimum_of_speech(
    config: EndpointerConfig, stream: list[float]
) -> None:
    endpointer = Endpointer(config)
    for event in feed(endpointer, stream):
        if isinstance(event, Stopped):
            held = range(
                event.start_sample // FRAME_SAMPLES, event.speech_end_sample // FRAME_SAMPLES
            )
            audible = sum(stream[i] >= config.exit_threshold for i in held)
            assert frames(audible) >= config.min_speech_samples


@given(config=configs, stream=probabilities)
def test_every_frame_of_long_speech_is_in_a_span(
    config: EndpointerConfig, stream: list[float]
) -> None:
    need = -(-config.min_speech_samples // FRAME_SAMPLES)
    stream = [*stream, *[SPEECH] * need, *[SILENCE] * 12]
    first, last = len(stream) - 12 - need, len(stream) - 12
    events, _ = run(config, stream)
    spans = [event for event in events if isinstance(event, Stopped)]
    assert any(s.start_sample <= frames(first) and frames(last) <= s.at_sample for s in spans)


@given(config=configs, stream=probabilities)
def test_no_span_begins_before_what_was_kept(config: EndpointerConfig, stream: list[float]) -> None:
    endpointer = Endpointer(config)
    kept = 0
    for probability in stream:
        event = endpointer.push(probability)
        if isinstance(event, Started):
            assert event.at_sample >= kept
        if isinstance(event, Stopped):
            assert event.start_sample >= kept
        assert endpointer.keep_from_sample >= kept
        kept = endpointer.keep_from_sample
