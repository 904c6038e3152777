from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.llm.prompt import estimate_tokens, fit, fold_system, opening, shrink, split_turns
from engine.types import Message

SYSTEM = Message("system", "Be brief.")


def turn(text: str) -> tuple[Message, Message]:
    return Message("user", text), Message("assistant", text.upper())


conversations = st.builds(
    lambda system, turns, last: (
        *([SYSTEM] if system else []),
        *(message for text in turns for message in turn(text)),
        Message("user", last),
    ),
    st.booleans(),
    st.lists(st.text(max_size=200), max_size=20),
    st.text(max_size=200),
)


def test_a_conversation_that_fits_stays_whole() -> None:
    messages = (SYSTEM, *turn("one"), Message("user", "two"))
    assert fit(messages, 1000) == messages


def test_the_oldest_turns_leave_and_the_system_prompt_stays() -> None:
    messages = (SYSTEM, *turn("a" * 400), *turn("b" * 40), Message("user", "c"))
    assert fit(messages, 250) == (SYSTEM, *turn("b" * 40), Message("user", "c"))


def test_the_last_turn_stays_even_when_it_is_too_long() -> None:
    messages = (SYSTEM, *turn("old"), Message("user", "x" * 10_000))
    assert fit(messages, 100) == (SYSTEM, Message("user", "x" * 10_000))


def test_other_scripts_cost_more_tokens_a_character() -> None:
    assert estimate_tokens([Message("user", "語" * 100)]) > 100
    assert estimate_tokens([Message("user", "a" * 100)]) < 50


@given(conversations, st.integers(0, 2000), st.floats(0.5, 4))
def test_what_is_left_is_the_system_prompt_and_whole_turns_to_the_end(
    messages: tuple[Message, ...], budget: int, scale: float
) -> None:
    system, turns = split_turns(messages)
    kept_system, kept = split_turns(fit(messages, budget, scale))
    assert kept_system == system
    assert kept
    assert kept == turns[-len(kept) :]
    size = scale * estimate_tokens(fit(messages, budget, scale))
    assert len(kept) == 1 or size <= budget + 1e-6


def test_the_start_stays_the_same_for_many_turns() -> None:
    messages: tuple[Message, ...] = (SYSTEM,)
    starts = []
    for number in range(60):
        messages = (*messages, *turn(f"{number:03} " + "word " * 10))
        starts.append(fit(messages, 1000)[1])
    changes = sum(a != b for a, b in pairwise(starts))
    assert 1 <= changes <= 60 // 8


def test_shrink_believes_the_models_count() -> None:
    messages = (SYSTEM, *turn("a" * 100), *turn("b" * 100), Message("user", "c"))
    assert fit(messages, 200) == messages
    assert shrink(messages, 10 * estimate_tokens(messages), 200) == (SYSTEM, Message("user", "c"))


def test_shrink_always_drops_something_until_nothing_can_go() -> None:
    messages: tuple[Message, ...] | None = (SYSTEM, *turn("a"), *turn("b"), Message("user", "c"))
    lengths = []
    while messages is not None:
        lengths.append(len(messages))
        messages = shrink(messages, 1, 1000)
    assert lengths == [6, 4, 2]


def test_a_conversation_opens_with_a_system_message_only_where_there_is_a_text() -> None:
    assert opening("Be brief.", "one") == (SYSTEM, Message("user", "one"))
    assert opening("", "one") == (Message("user", "one"),)


def test_a_greeting_stays_before_the_first_user_message() -> None:
    greeting = Message("assistant", "Good day.")
    assert fold_system((SYSTEM, greeting, Message("user", "one"))) == (
        greeting,
        Message("user", "Be brief.\n\none"),
    )


def test_an_empty_system_text_leaves_nothing_behind() -> None:
    assert fold_system((Message("system", ""), *turn("one"))) == turn("one")


@given(conversations)
def test_without_a_system_message_there_is_nothing_to_fold(messages: tuple[Message, ...]) -> None:
    _, turns = split_turns(messages)
    said = tuple(message for turn in turns for message in turn)
    assert fold_system(said) == said


def test_a_folded_system_text_stands_before_the_users_first_words() -> None:
    messages = (SYSTEM, Message("system", "Be kind."), *turn("one"), Message("user", "two"))
    folded = (Message("user", "Be brief.\n\nBe kind.\n\none"), *messages[3:])
    assert fold_system(messages) == folded
    assert fold_system(folded) == folded


@given(conversations)
def test_folded_messages_alternate_and_begin_with_the_user(messages: tuple[Message, ...]) -> None:
    roles = [message.role for message in fold_system(messages)]
    assert roles == [("user", "assistant")[n % 2] for n in range(len(roles))]
