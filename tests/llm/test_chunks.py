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
