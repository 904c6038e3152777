"""Local agreement: what is settled stays, and is whole words."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from engine.asr.agreement import LocalAgreement

WORDS = {1: " the", 2: " cap", 3: "ital", 4: " of", 5: " France", 6: ".", 7: "你", 8: "好"}


def decode(tokens: Sequence[int]) -> str:
    return "".join(WORDS[t] for t in tokens)


SURE, DOUBTFUL = -0.1, -2.0


def settle(*hypotheses: tuple[int, ...], logprobs: Sequence[float] = ()) -> tuple[int, ...]:
    agreement = LocalAgreement(decode)
    for tokens in hypotheses:
        settled = agreement.update(tokens, logprobs)
    return settled


def test_one_hypothesis_settles_nothing() -> None:
    assert settle((1, 2, 3), logprobs=[SURE] * 3) == ()


def test_two_settle_the_words_that_are_likely() -> None:
    assert settle((1, 2, 3, 4), (1, 2, 3, 4, 5), logprobs=[SURE] * 5) == (1, 2, 3, 4)
    assert settle((1, 2, 3, 4), (1, 2, 3, 4), logprobs=[SURE, SURE, SURE, DOUBTFUL]) == (1, 2, 3)
    assert settle((1, 2, 3, 4), (1, 2, 3, 4)) == ()


def test_four_settle_words_of_a_model_that_tells_no_doubts() -> None:
    heard = (1, 2, 3, 4)
    assert settle(heard, heard, heard) == ()
    assert settle(heard, heard, heard, heard) == (1, 2, 3)
    assert settle(heard, heard, heard, heard, logprobs=[DOUBTFUL] * 4) == ()


def test_half_a_word_is_not_settled() -> None:
    assert settle((1, 2, 6), (1, 2, 3, 4), logprobs=[SURE] * 4) == (1,)


def test_the_last_word_is_settled_only_when_another_follows() -> None:
    assert settle((1, 4), (1, 4), logprobs=[SURE] * 2) == (1,)


def test_scripts_without_spaces_settle_by_character() -> None:
    assert settle((7, 8, 7), (7, 8, 7, 8), logprobs=[SURE] * 4) == (7, 8, 7)


def test_attention_settles_words_at_once() -> None:
    agreement = LocalAgreement(decode)
    assert agreement.update((1, 2, 3, 4), attended=3) == (1, 2, 3)
    assert agreement.update((1, 2, 3, 4, 5), attended=2) == (1, 2, 3)


@given(st.lists(st.lists(st.sampled_from(sorted(WORDS)), max_size=8)))
def test_settled_tokens_only_grow(tails: list[list[int]]) -> None:
    agreement = LocalAgreement(decode)
    settled: tuple[int, ...] = ()
    for tail in tails:
        hypothesis = (*settled, *tail)
        now = agreement.update(hypothesis, [SURE] * len(tail))
        assert now[: len(settled)] == settled
        assert hypothesis[: len(now)] == now
        settled = now
