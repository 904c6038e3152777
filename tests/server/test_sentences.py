from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.sentences import Sentences


def split(*pieces: str) -> list[str]:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.push(piece)]
    return [*found, rest] if (rest := sentences.rest()) else found


@pytest.mark.parametrize(
    "text",
    [
        "One.| Two!| Three?| Four",
        "What?!| No...| Well…| Yes.",
        "Pi is 3.14 or so.| It costs $1.50 today.",
        "See example.org for more.| It is free.",
        "Ask Dr. Smith or Mrs. Jones.| They know.",
        "Fruit, e.g. Apples, are good.| So is bread.",
        "It opens at 5 p.m. today.| Come early.",
        "It closes at 5 p.m.| Come early.",
        "The U.S. Army has J. R. Smith.| He is there.",
        "So do I.| And you?",
        "No.| I do not.| But No. 5 is alive.",
        "Wait... what?| Yes.",
        '"Go!" he said.| "Why?"| She left.',
        "(He left.)| Then she left.",
        "**Bold.**| Then plain.",
        "Steps:|\n1. Wash them.|\n2. Dry them.|\n\nDone",
        "Here is a list|\n- one|\n- two",
        "« Oui. » Puis il part.| Voilà !| Bien.",
        "你好。|我很好！|你呢？|好",
        "他说：「你好。」|然后走了。| 再见。",
        "हाँ।| ठीक है।",
        "Done.| **Next** one.| `x` too.| “Yes.”| 'Quite.'",
        "Great!| 😀 Yes.",
    ],
)
def test_sentences_end_where_they_end(text: str) -> None:
    expected = text.split("|")
    assert split("".join(expected)) == expected
    assert split(*"".join(expected)) == expected


def test_a_sentence_comes_as_soon_as_the_next_one_begins() -> None:
    sentences = Sentences()
    assert sentences.push("Call and response") == []
    assert sentences.push(". ") == []
    assert sentences.push("Between") == ["Call and response."]
    assert sentences.push("\n\n") == []
    assert sentences.rest() == " Between\n\n"
    assert sentences.rest() == ""


alphabet = st.sampled_from([*"aB1I.!?…。！\"')」 \n-", "Dr", "e.g", "No"])


@given(st.lists(alphabet, max_size=60).map("".join), st.data())
def test_joined_they_are_the_reply_however_it_is_cut(text: str, data: st.DataObject) -> None:
    whole = split(text)
    assert "".join(whole) == text
    assert all(sentence.strip() for sentence in whole[:-1])
    assert not whole[1:] or whole[-1].strip()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(*pieces) == whole
