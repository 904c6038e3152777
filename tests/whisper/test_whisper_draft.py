"""A draft offers what may come, whatever the model says instead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.whisper.draft import Draft

texts = st.lists(st.integers(0, 5), max_size=20)


def test_all_of_it_comes_first() -> None:
    assert Draft([1, 2, 3]).propose([]) == (1, 2, 3)


def test_after_a_changed_word_the_rest_is_offered_again() -> None:
    draft = Draft([1, 2, 3, 4, 5, 6])
    draft.propose([])
    assert draft.propose([1, 2, 9]) == ()
    assert draft.propose([1, 2, 9, 4]) == (5, 6)


def test_after_an_inserted_word_the_rest_is_offered_again() -> None:
    draft = Draft([1, 2, 3, 4])
    assert draft.propose([1, 9]) == ()
    assert draft.propose([1, 9, 2]) == (3, 4)


def test_no_draft_proposes_nothing() -> None:
    assert Draft().propose([]) == ()
    assert Draft().propose([1, 2]) == ()


@given(draft=texts, truth=texts)
def test_proposals_are_pieces_of_the_draft(draft: list[int], truth: list[int]) -> None:
    offer = Draft(draft)
    pieces = {tuple(draft[i:j]) for i in range(len(draft) + 1) for j in range(i, len(draft) + 1)}
    for length in range(len(truth) + 1):
        assert offer.propose(truth[:length]) in pieces
