"""A row's life without a model: a scripted one says what comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ModelError
from engine.whisper.pick import Pick
from engine.whisper.row import Row, RowRequest
from engine.whisper.spec import WhisperSpec, read_spec
from engine.whisper.tokenizer import WhisperTokenizer
from engine.whisper.weights import read_model_bin

pytestmark = pytest.mark.models

Script = Callable[[Sequence[int]], int]


@pytest.fixture(scope="module")
def tokens(whisper_base: Path) -> WhisperTokenizer:
    return WhisperTokenizer(whisper_base)


@pytest.fixture(scope="module")
def spec(whisper_base: Path) -> WhisperSpec:
    return read_spec(whisper_base, read_model_bin(whisper_base / "model.bin"))


def run(row: Row, script: Script) -> list[int]:
    """Feed a row from ``script``, which sees the text so far; returns the tokens of each pass."""
    cache: list[int] = []
    fed = []
    for _ in range(1000):
        span = row.span()
        cache = [*cache[: span.cached], *span.tokens]
        fed.append(len(span.tokens))
        head = len(row.opening) - len(row.request.prefix)
        first = len(cache) - len(row.proposal)
        picks = [Pick(script(cache[head : first + i]), -0.5) for i in range(len(row.proposal) + 1)]
        assert len(row.rules()) == len(picks)
        row.take(picks)
        if row.finished:
            return fed
    raise AssertionError("the row never finished")


def saying(text: Sequence[int], end: int) -> Script:
    """A model that says ``text`` and, after anything else, a token that depends on it."""

    def script(said: Sequence[int]) -> int:
        if list(said) == list(text[: len(said)]):
            return text[len(said)] if len(said) < len(text) else end
        return 300 + sum(said) % 7

    return script


words = st.lists(st.integers(300, 306), max_size=12)


@settings(deadline=None)
@given(text=words, draft=words, forced=st.integers(0, 3))
def test_any_draft_gives_the_same_text_in_no_more_passes(
    tokens: WhisperTokenizer, spec: WhisperSpec, text: list[int], draft: list[int], forced: int
) -> None:
    script = saying(text, tokens.end_of_text)
    prefix = tuple(text[:forced])
    plain = Row(0, RowRequest(60, "en", prefix=prefix), tokens, spec)
    drafted = Row(0, RowRequest(60, "en", prefix=prefix, draft=tuple(draft)), tokens, spec)
    passes = len(run(plain, script))
    assert len(run(drafted, script)) <= passes
    assert drafted.result().tokens == plain.result().tokens
    assert drafted.result().avg_logprob == pytest.approx(plain.result().avg_logprob)


def test_a_true_draft_takes_one_pass(tokens: WhisperTokenizer, spec: WhisperSpec) -> None:
    text = [400, 401, 402, 403]
    row = Row(0, RowRequest(60, "en", draft=tuple(text)), tokens, spec)
    assert len(run(row, saying(text, tokens.end_of_text))) == 1
    assert row.result().tokens == tuple(text)
    assert row.result().agreed == 4


def test_a_prefix_stands_even_where_the_model_disagrees(
    tokens: WhisperTokenizer, spec: WhisperSpec
) -> None:
    row = Row(0, RowRequest(3, "en", prefix=(500,)), tokens, spec)
    run(row, saying([400, 401], tokens.end_of_text))
    assert row.result().tokens[0] == 500


def test_a_loop_is_ended(tokens: WhisperTokenizer, spec: WhisperSpec) -> None:
    row = Row(0, RowRequest(200, "en"), tokens, spec)
    run(row, lambda said: 400 + len(said) % 2)
    assert len(row.said) < 20


def test_the_cap_and_the_cache_end_a_row(tokens: WhisperTokenizer, spec: WhisperSpec) -> None:
    capped = Row(0, RowRequest(7, "en", draft=tuple(range(400, 420))), tokens, spec)
    run(capped, lambda said: 400 + len(said))
    assert len(capped.result().tokens) == 7
    full = Row(0, RowRequest(1000, "en", previous=tuple(range(400, 600))), tokens, spec)
    run(full, lambda said: 1000 + len(said))
    assert len(full.opening) + len(full.said) == spec.max_tokens


def test_openings(tokens: WhisperTokenizer) -> None:
    sot, end = tokens.start, tokens.no_timestamps
    assert tokens.opening("en") == [sot, 50_259, 50_359, end]
    assert tokens.opening("de", (5, 6), "translate", timestamps=True)[-3:] == [
        sot,
        tokens.opening("de")[1],
        50_358,
    ]
    assert tokens.language_of(50_259) == "en"
    with pytest.raises(ModelError):
        tokens.opening("xx")


def test_an_english_model_cannot_translate(whisper_tiny: Path) -> None:
    tokens = WhisperTokenizer(whisper_tiny)
    assert tokens.opening("en") == [tokens.start, tokens.no_timestamps]
    with pytest.raises(ModelError):
        tokens.opening("en", task="translate")
