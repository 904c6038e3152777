"""Which part of a conversation goes into the prompt, when not all of it fits.

Nothing here asks a model: sizes are estimated, and whoever learns a prompt's true number of
tokens calls ``shrink`` with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.types import Message

Messages = tuple[Message, ...]

# English runs at 4 to 5 characters a token; other scripts cost a token for each byte or two.
# Guessing high costs a turn of history now and then, guessing low a refused prompt.
_TOKENS_PER_CHAR = 0.3
_TOKENS_PER_EXTRA_BYTE = 0.5
_TOKENS_PER_MESSAGE = 6  # the chat template's marks


def opening(system: str, user: str) -> Messages:
    """A conversation's first prompt; where there is no system text, without a message for it."""
    asked = Message("user", user)
    return (Message("system", system), asked) if system else (asked,)


def estimate_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens ``messages`` will be, template included."""
    return sum(_estimate(message.content) for message in messages)


def _estimate(text: str) -> int:
    extra_bytes = len(text.encode("utf-8", "replace")) - len(text)
    tokens = _TOKENS_PER_CHAR * len(text) + _TOKENS_PER_EXTRA_BYTE * extra_bytes
    return int(tokens) + _TOKENS_PER_MESSAGE


def fit(messages: Sequence[Message], budget_tokens: int, scale: float = 1.0) -> Messages:
    """``messages`` without its oldest turns, so that about ``budget_tokens`` remain.

    System messages at the front and the last turn always stay; turns leave whole. When the
    budget is passed, turns leave until half of it is free: the prompt's start then stays the
    same for many turns, and with it the model's cached prefix. The cut is found by replaying
    the conversation, so it depends on nothing but the arguments. ``scale`` corrects the
    estimate of tokens.
    """
    system, turns = split_turns(messages)
    sizes = [scale * estimate_tokens(turn) for turn in turns]
    first, total = 0, scale * estimate_tokens(system)
    for last, size in enumerate(sizes):
        total += size
        if total <= budget_tokens:
            continue
        while first < last and total > budget_tokens / 2:
            total -= sizes[first]
            first += 1
    return _join(system, turns[first:])


def shrink(messages: Messages, prompt_tokens: int, budget_tokens: int) -> Messages | None:
    """What to try after ``messages`` turned out to be ``prompt_tokens``: fewer turns.

    None if there is only one turn left.
    """
    fitted = fit(messages, budget_tokens, max(1.0, prompt_tokens / estimate_tokens(messages)))
    if len(fitted) < len(messages):
        return fitted
    system, turns = split_turns(messages)
    return _join(system, turns[1:]) if len(turns) > 1 else None


def too_long(prompt_tokens: int | None, context_tokens: int | None) -> str:
    """For people, when not even the last turn fits; None: nobody has told."""
    if prompt_tokens is None or context_tokens is None:
        return (
            "what was said is too long for the model, with the system prompt: say less at once, "
            "shorten that, or give the model a longer context"
        )
    return (
        f"what was said is too long for the model: {prompt_tokens} tokens with the system "
        f"prompt, and its context holds {context_tokens} with the reply"
    )


def split_turns(messages: Sequence[Message]) -> tuple[Messages, list[Messages]]:
    """The system messages at the front, and the turns: each begins where the user speaks."""
    start = 0
    while start < len(messages) and messages[start].role == "system":
        start += 1
    turns: list[Messages] = []
    for message in messages[start:]:
        if message.role == "user" or not turns:
            turns.append((message,))
        else:
            turns[-1] = (*turns[-1], message)
    return tuple(messages[:start]), turns


def fold_system(messages: Messages) -> Messages:
    """``messages`` for a model that knows no system role.

    The system text goes in front of the first user message, with a blank line between them.
    """
    texts = [message.content for message in messages if message.role == "system"]
    folded = [message for message in messages if message.role != "system"]
    for place, message in enumerate(folded):
        if message.role == "user":
            folded[place] = Message("user", "\n\n".join(filter(None, [*texts, message.content])))
            break
    return tuple(folded)


def _join(system: Messages, turns: Sequence[Messages]) -> Messages:
    return (*system, *(message for turn in turns for message in turn))
