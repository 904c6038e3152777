from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.llm.token_history import Exchange


def tokenize(text: str) -> list[int]:
    return [ord(character) for character in text]


def exchange() -> Exchange:
    made = Exchange().follow("ask:", tokenize)
    made.extend("We", [1001])
    made.extend("ll.", [1002, 1003])
    return made


def test_tokens_go_as_far_as_the_text_is_the_same() -> None:
    assert exchange().shared_with("ask:Well. And") == (9, 7)
    assert exchange().shared_with("ask:Wex") == (6, 5)
    assert exchange().shared_with("ask:Wx") == (4, 4)
    assert exchange().shared_with("as") == (0, 0)


def test_the_rest_is_cut_anew() -> None:
    known = [*tokenize("ask:"), 1001, 1002, 1003]
    assert exchange().follow("ask:Well.!", tokenize).ids == [*known, 33]
    assert exchange().follow("other", tokenize).ids == tokenize("other")
    assert Exchange().follow("other", tokenize).ids == tokenize("other")


def test_prompts_that_came_to_nothing_leave_the_tokens_before_them() -> None:
    last = exchange()
    for prompt in ("ask:Well. An", "ask:Well. And so", "ask:Well. And"):
        last = last.follow(prompt, tokenize)
        assert last.ids[4:7] == [1001, 1002, 1003]
    assert last.follow("ask:We", tokenize).ids == [*tokenize("ask:"), 1001]


@given(
    st.lists(st.text("ab", min_size=1, max_size=3), max_size=6),
    st.lists(st.text("ab", max_size=20), min_size=1, max_size=4),
)
def test_whatever_is_asked_the_tokens_spell_it(pieces: list[str], prompts: list[str]) -> None:
    spelled: dict[int, str] = {}
    last = Exchange()
    for number, piece in enumerate(pieces, 1000):
        spelled[number] = piece
        last.extend(piece, [number])
    for prompt in prompts:
        last = last.follow(prompt, tokenize)
        assert "".join(spelled.get(token) or chr(token) for token in last.ids) == prompt
