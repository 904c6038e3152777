from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.languages import LANGUAGES
from server.messages import ChatbotResponse, SessionRequest
from server.protocol import MessageLimits, ProtocolError, encode, parse

LIMITS = MessageLimits(
    max_prompt_chars=20,
    max_system_chars=30,
    max_tokens=64,
    max_temperature=1.5,
    max_stops=2,
    max_stop_chars=5,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = [
    *("session_id", "events", "language", "prompt", "hotwords", "system", "endpointing", "audio")
]
REPLY_FIELDS = ["max_tokens", "temperature", "top_p", "stop", "seed", "barge_in"]


def session(**fields: object) -> SessionRequest:
    message = parse(json.dumps({"type": "session", "session_id": "s"} | fields), LIMITS)
    assert isinstance(message, SessionRequest)
    return message


def test_every_option_is_understood() -> None:
    assert session(
        events=["vad", "partial", "transcript", "token", "timings"],
        language="de",
        prompt="Antiphon",
        hotwords="Kowloon",
        system="Be kind.",
        endpointing="server",
        audio={"format": "pcm_f32le", "sample_rate": 48_000, "channels": 2},
        max_tokens=12,
        temperature=0.5,
        top_p=1,
        stop=["\n", "User:"],
        seed=0,
        barge_in=True,
    ) == SessionRequest(
        session_id="s",
        events=frozenset({"vad", "partial", "transcript", "token", "timings"}),
        language="de",
        prompt="Antiphon",
        hotwords="Kowloon",
        system="Be kind.",
        endpointing="server",
        audio_format="pcm_f32le",
        sample_rate=48_000,
        channels=2,
        max_tokens=12,
        temperature=0.5,
        top_p=1.0,
        stop=("\n", "User:"),
        seed=0,
        barge_in=True,
    )


def test_a_language_is_given_or_chosen_among_several() -> None:
    assert session(language="de").languages == ()
    chosen = session(language=["en", "de", "en"])
    assert chosen.language is None
    assert chosen.languages == ("en", "de")
    assert len(session(language=sorted(LANGUAGES)[:16]).languages) == 16


def test_null_is_the_default_and_auto_is_no_language() -> None:
    names = [*FIELDS[1:], *REPLY_FIELDS]
    assert session(**dict.fromkeys(names)) == session() == session(language="auto")


@pytest.mark.parametrize("audio_format", ["mulaw", "alaw"])
def test_g711_has_8_khz_unless_another_rate_is_given(audio_format: str) -> None:
    request = session(audio={"format": audio_format})
    assert (request.audio_format, request.sample_rate) == (audio_format, 8_000)
    request = session(audio={"format": audio_format, "sample_rate": 16_000, "channels": 2})
    assert (request.sample_rate, request.channels) == (16_000, 2)
    assert session(audio={"format": "pcm_s16le"}).sample_rate == 16_000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Kowloon, Helstone", "Kowloon, Helstone"),
        (["Kowloon", " Helstone ", ""], "Kowloon, Helstone"),
        (["x" * 10, "x" * 8], "x" * 10 + ", " + "x" * 8),
        ([], ""),
        (None, ""),
    ],
)
def test_hotwords_are_a_string_or_a_list_of_them(given: object, expected: str) -> None:
    assert session(hotwords=given).hotwords == expected


def test_what_is_unknown_is_ignored_with_a_warning() -> None:
    request = session(
        events=["vad", "smell"], colour="red", audio={"bits": 16}, max_tokens=999, temperature=2
    )
    assert (request.events, request.max_tokens) == (frozenset({"vad"}), 64)
    assert request.temperature == 1.5
    assert request.warnings == (
        'unknown event "smell"',
        '"max_tokens" was lowered to this server\'s 64',
        '"temperature" was lowered to this server\'s 1.5',
        'unknown field "colour" in session',
        'unknown field "bits" in session.audio',
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", ""),
        ("session_id", 7),
        ("session_id", "x" * 257),
        ("events", "vad"),
        ("events", [1]),
        ("language", "klingon"),
        ("language", 1),
        ("language", []),
        ("language", ["en", "klingon"]),
        ("language", ["en", "auto"]),
        ("language", ["en", 1]),
        ("language", sorted(LANGUAGES)[:17]),
        ("prompt", ["words"]),
        ("prompt", "x" * 21),
        ("hotwords", 7),
        ("hotwords", True),
        ("hotwords", ["Kowloon", 1]),
        ("hotwords", "x" * 21),
        ("hotwords", ["x" * 10, "x" * 10]),
        ("hotwords", ["\ud800"]),
        ("system", "x" * 31),
        ("system", "\ud800"),
        ("endpointing", "both"),
        ("endpointing", True),
        ("audio", "pcm"),
        ("audio", {"format": "mp3"}),
        ("audio", {"sample_rate": "16000"}),
        ("audio", {"sample_rate": 7999}),
        ("audio", {"sample_rate": 4000, "format": "mulaw"}),
        ("audio", {"format": "ulaw"}),
        ("audio", {"channels": 0, "format": "pcm_s16le"}),
        ("audio", {"channels": 9, "format": "pcm_s16le"}),
        ("audio", {"channels": 1.0, "format": "pcm_s16le"}),
        ("audio", {"channels": 2, "format": "auto"}),
        ("audio", {"channels": 2}),
        ("max_tokens", 0),
        ("max_tokens", True),
        ("max_tokens", 1.5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.01),
        ("stop", "."),
        ("stop", [1]),
        ("stop", [""]),
        ("stop", ["."] * 3),
        ("stop", ["x" * 6]),
        ("stop", ["\ud800"]),
        ("barge_in", 1),
        ("barge_in", "yes"),
        ("seed", -1),
        ("seed", 0.5),
        ("seed", 1 << 32),
    ],
)
def test_wrong_types_and_values_are_errors_that_name_the_field(field: str, value: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        session(**{field: value})
    assert caught.value.code == "bad_message"
    name = next(iter(value)) if isinstance(value, dict) else field
    assert f'"{name}"' in str(caught.value)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(["session", "audio_chunk", "segment_end", "cancel", "other"]),
    st.dictionaries(st.sampled_from([*FIELDS, *REPLY_FIELDS, "data"]), json_values),
)
def test_any_json_is_a_message_or_a_protocol_error(kind: str, body: dict[str, object]) -> None:
    code = None
    try:
        parse(json.dumps({"type": kind} | body), LIMITS)
    except ProtocolError as error:
        code = error.code
    assert code in {None, "bad_json", "bad_message", "unknown_type"}


@given(st.text(max_size=40))
def test_any_text_is_a_message_or_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse(text, LIMITS)


def test_fields_that_are_none_are_left_out() -> None:
    assert json.loads(encode(ChatbotResponse("a", "b", "c"))) == {
        "type": "chatbot_response",
        "transcription": "a",
        "response": "b",
        "backend_used": "c",
    }


def test_the_languages_are_those_of_whisper() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert frozenset(_LANGUAGE_CODES) == LANGUAGES
