from __future__ import annotations

from engine.types import Message
from server.conversations import Conversation, Conversations


def said(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.prompt("", "?")]


def test_the_prompt_alternates_even_where_a_reply_is_missing() -> None:
    conversation = Conversation(max_turns=5)
    conversation.add("one", "1")
    conversation.add("two", "")
    conversation.add("three", "3")
    conversation.add("four", "")
    assert conversation.prompt("Be kind.", "five") == (
        Message("system", "Be kind."),
        Message("user", "one"),
        Message("assistant", "1"),
        Message("user", "two\nthree"),
        Message("assistant", "3"),
        Message("user", "four\nfive"),
    )


def test_the_oldest_turns_leave() -> None:
    conversation = Conversation(max_turns=2)
    for number in range(4):
        conversation.add(f"q{number}", f"a{number}")
    assert said(conversation) == ["q2", "a2", "q3", "a3", "?"]
    nothing = Conversation(max_turns=0)
    nothing.add("q", "a")
    assert said(nothing) == ["?"]


def test_an_idle_conversation_is_found_again_until_its_time_is_over() -> None:
    conversations = Conversations(max_conversations=10, memory_s=60, max_turns=4)
    conversation = conversations.take("a", now=0)
    conversation.add("q", "a")
    conversations.give_back("a", conversation, now=100)
    assert conversations.take("a", now=159) is conversation
    assert len(conversations) == 0
    conversations.give_back("a", conversation, now=200)
    assert said(conversations.take("a", now=260)) == ["?"]


def test_the_one_that_was_left_longest_ago_leaves_first_and_empty_ones_are_not_kept() -> None:
    conversations = Conversations(max_conversations=2, memory_s=60, max_turns=4)
    for at, name in enumerate("abc"):
        conversation = conversations.take(name, at)
        conversation.add(name, name)
        conversations.give_back(name, conversation, at)
    conversations.give_back("empty", Conversation(4), now=3)
    assert len(conversations) == 2
    assert said(conversations.take("a", 4)) == ["?"]
    assert said(conversations.take("b", 4)) == ["b", "b", "?"]
