import json

import pytest

from engine.llm.chunks import Chunk, Usage, parse


def chunk(delta: dict[str, object], reason: str | None = None, **more: object) -> str:
    choice = {"finish_reason": reason, "index": 0, "delta": delta}
    return json.dumps({"choices": [choice], **more})


def test_text_is_the_delta() -> None:
    assert parse(chunk({"content": " Paris"})) == Chunk(text=" Paris")


def test_the_first_chunk_has_no_text() -> None:
    assert parse(chunk({"role": "assistant", "content": None})) == Chunk()


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_what_a_model_thinks_is_no_text(field: str) -> None:
    assert parse(chunk({"content": None, field: "Hm."})) == Chunk(thinks=True)
    assert parse(chunk({"content": "Paris", field: None})) == Chunk(text="Paris")


def test_an_empty_reason_and_no_error_are_no_end() -> None:
    assert parse(chunk({"content": "Par"}, "", error=None)) == Chunk(text="Par")


@pytest.mark.parametrize(
    ("said", "meant"), [("stop", "stop"), ("length", "length"), ("content_filter", "stop")]
)
def test_the_last_chunk_says_why(said: str, meant: str) -> None:
    assert parse(chunk({}, said)).finish_reason == meant


def test_timings_become_usage() -> None:
    timings = {"cache_n": 20, "prompt_n": 5, "predicted_n": 7, "prompt_ms": 1.5}
    assert parse(chunk({}, "stop", timings=timings)).usage == Usage(20, 5, 7)


def test_a_chunk_without_choices_says_nothing() -> None:
    assert parse('{"choices": [], "usage": {}}') == Chunk()


@pytest.mark.parametrize(
    ("counted", "usage"),
    [
        ({"timings": {"prompt_n": 5, "predicted_n": 7}}, Usage(0, 5, 7)),  # older llama.cpp
        ({"timings": {"prompt_n": 5}, "usage": {"prompt_tokens": 9}}, None),
        ({"timings": None, "usage": None}, None),
        ({"timings": [], "usage": "none"}, None),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2}}, Usage(0, 9, 2)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": None}}, None),
        ({"usage": {"prompt_tokens": -9, "completion_tokens": 2}}, None),
    ],
)
def test_usage_is_what_was_soundly_counted(counted: dict[str, object], usage: Usage | None) -> None:
    assert parse(chunk({}, "stop", **counted)) == Chunk(finish_reason="stop", usage=usage)


@pytest.mark.parametrize(("cached", "usage"), [(4, (4, 5, 2)), (12, (9, 0, 2)), (None, (0, 9, 2))])
def test_no_count_is_negative(cached: int | None, usage: tuple[int, int, int]) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    counted = {"prompt_tokens": 9, "completion_tokens": 2, **details}
    assert parse(chunk({}, usage=counted)).usage == Usage(*usage)
