"""Agreement: what is settled stays, is whole words, and stood the longer the less sure it was."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from engine.asr.agreement import LocalAgreement

WORDS = {1: " the", 2: " cap", 3: "ital", 4: " of", 5: " France", 6: ".", 7: "你", 8: "好"}


def decode(tokens: Sequence[int]) -> str:
    return "".join(WORDS[t] for t in tokens)


SURE, LIKELY, DOUBTFUL, GUESSED = -0.05, -0.4, -1.0, -3.0
Heard = tuple[float, tuple[int, ...]]


def settle(*hypotheses: Heard, logprobs: Sequence[float] = ()) -> tuple[int, ...]:
    """Hypotheses by the seconds heard; those after the first begin with what is settled."""
    agreement = LocalAgreement(decode)
    for heard_s, tokens in hypotheses:
        free = logprobs[len(agreement.settled) : len(tokens)]
        settled = agreement.update(tokens, heard_s, free)
    return settled


def test_one_hypothesis_settles_nothing() -> None:
    assert settle((9.0, (1, 2, 3, 4)), logprobs=[SURE] * 4) == ()


def test_words_that_are_sure_settle_when_they_are_heard_twice() -> None:
    assert settle((1.0, (1, 2, 3, 4)), (1.6, (1, 2, 3, 4, 5)), logprobs=[SURE] * 5) == (1, 2, 3, 4)
    assert settle((1.0, (1, 2, 3, 4)), (1.4, (1, 2, 3, 4, 5)), logprobs=[SURE] * 5) == ()


def test_the_less_sure_the_longer() -> None:
    heard = (1, 2, 3, 4)
    for logprob, seconds in ((LIKELY, 2.4), (DOUBTFUL, 3.6)):
        odds = [logprob] * 4
        assert settle((1.0, heard), (0.9 + seconds, heard), logprobs=odds) == ()
        assert settle((1.0, heard), (1.1 + seconds, heard), logprobs=odds) == (1, 2, 3)
    assert settle((1.0, heard), (20.0, heard), logprobs=[GUESSED] * 4) == ()


def test_a_doubt_counts_from_when_it_was_last_felt() -> None:
    agreement = LocalAgreement(decode)
    heard = (1, 4, 5)
    assert agreement.update(heard, 1.0, [LIKELY] * 3) == ()
    assert agreement.update(heard, 3.0, [GUESSED, LIKELY, LIKELY]) == ()
    assert agreement.update(heard, 4.0, [LIKELY] * 3) == ()
    assert agreement.update(heard, 6.5, [LIKELY] * 3) == (1, 4)


def test_a_doubtful_word_holds_back_those_after_it() -> None:
    odds = [SURE, GUESSED, SURE, SURE]
    assert settle((1.0, (1, 4, 5, 1)), (2.0, (1, 4, 5, 1)), logprobs=odds) == (1,)


def test_a_word_that_changed_begins_anew() -> None:
    agreement = LocalAgreement(decode)
    agreement.update((1, 4, 5), 1.0, [LIKELY] * 3)
    agreement.update((1, 5, 5), 2.0, [LIKELY] * 3)
    assert agreement.update((1, 4, 5), 4.0, [LIKELY] * 3) == (1,)


def test_a_model_that_tells_no_doubts_has_to_repeat_itself_for_longer() -> None:
    heard = (1, 2, 3, 4)
    assert settle((1.0, heard), (5.9, heard)) == ()
    assert settle((1.0, heard), (3.0, heard), (6.1, heard)) == (1, 2, 3)


def test_half_a_word_is_not_settled() -> None:
    assert settle((1.0, (1, 2, 6)), (2.0, (1, 2, 3, 4)), logprobs=[SURE] * 4) == (1,)


def test_the_last_word_is_settled_only_when_another_follows() -> None:
    assert settle((1.0, (1, 4)), (2.0, (1, 4)), logprobs=[SURE] * 2) == (1,)


def test_scripts_without_spaces_settle_by_character() -> None:
    assert settle((1.0, (7, 8, 7)), (2.0, (7, 8, 7, 8)), logprobs=[SURE] * 4) == (7, 8, 7)


def test_attention_settles_words_at_once() -> None:
    agreement = LocalAgreement(decode)
    assert agreement.update((1, 2, 3, 4), 1.0, attended=3) == (1, 2, 3)
    assert agreement.update((1, 2, 3, 4, 5), 2.0, attended=2) == (1, 2, 3)


@given(st.lists(st.lists(st.sampled_from(sorted(WORDS)), max_size=8)))
def test_settled_tokens_only_grow(tails: list[list[int]]) -> None:
    agreement = LocalAgreement(decode)
    settled: tuple[int, ...] = ()
    for heard_s, tail in enumerate(tails):
        hypothesis = (*settled, *tail)
        now = agreement.update(hypothesis, heard_s, [SURE] * len(tail))
        assert now[: len(settled)] == settled
        assert hypothesis[: len(now)] == now
        settled = now
