from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.llm.token_history import Exchange, encode


def tokenize(text: str) -> list[int]:
    return [ord(character) for character in text]


def exchange() -> Exchange:
    made = Exchange("ask:", tokenize("ask:"))
    made.extend("We", [1001])
    made.extend("ll.", [1002, 1003])
    return made


def test_tokens_go_as_far_as_the_text_is_the_same() -> None:
    assert exchange().shared_with("ask:Well. And") == (9, 7)
    assert exchange().shared_with("ask:Wex") == (6, 5)
    assert exchange().shared_with("ask:Wx") == (4, 4)
    assert exchange().shared_with("as") == (0, 0)


def test_the_rest_is_cut_anew() -> None:
    assert encode("ask:Well.!", exchange(), tokenize) == [*tokenize("ask:"), 1001, 1002, 1003, 33]
    assert encode("other", exchange(), tokenize) == tokenize("other")
    assert encode("other", None, tokenize) == tokenize("other")


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=6), st.text("ab", max_size=20))
def test_whatever_is_asked_the_tokens_spell_it(pieces: list[str], prompt: str) -> None:
    spelled: dict[int, str] = {}
    last = Exchange("", [])
    for number, piece in enumerate(pieces, 1000):
        spelled[number] = piece
        last.extend(piece, [number])
    ids = encode(prompt, last, tokenize)
    assert "".join(spelled.get(token) or chr(token) for token in ids) == prompt
