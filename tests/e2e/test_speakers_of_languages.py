"""Speakers of several languages at once on one server, each with a task of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from turns import RAW, answer, ask, of, spoken, words

from server.client import Client, Message
from server.process import ServerProcess

pytestmark = pytest.mark.models

SPOKEN = {
    "fr/bonjour_monde": {"bonjour", "le", "monde"},
    "en/hello_world": {"hello", "world"},
    "zh/nihao_shijie": {"你好世界"},
}


async def turns(url: str, *audio: bytes, **options: object) -> list[list[Message]]:
    """Some turns of one session."""
    wanted = {"events": ["transcript"], "audio": RAW, **options}
    async with await Client.connect(url, **wanted) as client:
        return [await ask(client, each) for each in audio]


def heard(messages: list[Message]) -> tuple[str, set[str]]:
    """The language and the words of a turn's final transcript."""
    (final,) = of(messages, "transcription")
    assert final["text"] == answer(messages)["transcription"]
    return final["language"], set(words(final["text"]))


def test_each_speaker_has_a_language_and_a_task(echo_server: ServerProcess, phrases: Path) -> None:
    """Each phrase by somebody who wants it translated and by somebody who does not, all at once."""
    audio = {name: spoken(phrases / f"{name}.wav") for name in SPOKEN}
    tasks = [(name, task) for name in SPOKEN for task in ("transcribe", "translate")]

    async def everybody() -> list[list[list[Message]]]:
        url = echo_server.ws_url
        return await asyncio.gather(*(turns(url, audio[name], task=task) for name, task in tasks))

    for (name, task), (messages,) in zip(tasks, asyncio.run(everybody()), strict=True):
        expected = SPOKEN[name] if task == "transcribe" else {"hello", "world"}
        language, words = heard(messages)
        # "le monde" may keep its article in translation
        kept = words - {"the"} if task == "translate" else words
        assert (language, kept) == (name[:2], expected)


@pytest.mark.speech
def test_a_short_turn_does_not_decide_the_language_of_the_session_and_a_long_one_does(
    echo_server: ServerProcess, phrases: Path, speech: Path
) -> None:
    french, english = (spoken(phrases / f"{name}.wav") for name in list(SPOKEN)[:2])
    long_french = spoken(speech / "multilingual/fleurs-fr-006.flac")

    async def conversation() -> list[str]:
        url, name = echo_server.ws_url, {"session_id": "polyglot"}
        kept = await turns(url, french, english, long_french, english, **name)
        anew = await turns(url, english, **name)
        return [heard(messages)[0] for messages in kept + anew]

    assert asyncio.run(conversation()) == ["fr", "en", "fr", "fr", "en"]
