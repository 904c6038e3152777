"""Trials: how a child process ends, and what its words mean."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from engine.config import EngineSettings
from engine.doctor import trials
from engine.doctor.trials import Outcome, attempt, judge_reply, judge_speech, reply
from engine.errors import DeadlineExceeded, ModelError
from engine.types import GenerateRequest, LlmEvent, ResponseDelta
from server.conversations import Conversation

BROKEN = ["refused", "late", "raised", "crashed", "hung"]


def say(name: str, text: str) -> tuple[str, str]:
    return name, text


def refuse() -> tuple[str, str]:
    raise ModelError("the model is not here: pull it")


def stumble() -> tuple[str, str]:
    raise RuntimeError("CUDA error")


def dawdle() -> tuple[str, str]:
    raise DeadlineExceeded("no token within 60 s")


def crash() -> tuple[str, str]:
    os.kill(os.getpid(), signal.SIGABRT)
    raise AssertionError


def leave() -> tuple[str, str]:
    os._exit(3)


def hang() -> tuple[str, str]:
    threading.Event().wait()
    raise AssertionError


def test_what_a_trial_says_comes_back() -> None:
    outcome = attempt(say, "whisper", "hello")
    assert (outcome.kind, outcome.name, outcome.text) == ("said", "whisper", "hello")


@pytest.mark.parametrize(
    ("trial", "kind", "word"),
    [
        (refuse, "refused", "the model is not here: pull it"),
        (stumble, "raised", "RuntimeError: CUDA error"),
        (crash, "crashed", "SIGABRT"),
        (leave, "crashed", "status 3"),
    ],
)
def test_however_a_trial_ends_it_is_reported(trial, kind: str, word: str) -> None:
    outcome = attempt(trial)
    assert outcome.kind == kind
    assert word in outcome.error


def test_a_trial_that_hangs_is_ended() -> None:
    assert attempt(hang, timeout_s=0.1).kind == "hung"


class Model:
    """A backend that remembers what it was asked, and says ``events``."""

    name, busy = "model", True

    def __init__(self, *events: LlmEvent) -> None:
        self.events = list(events)
        self.asked: list[GenerateRequest] = []

    def submit(self, request: GenerateRequest) -> None:
        self.asked.append(request)

    def step(self) -> list[LlmEvent]:
        return self.events

    def cancel(self, key: int, turn_id: int) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_reply_is_asked_for_as_a_session_would(
    monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    model = Model(ResponseDelta(0, 0, "Hello"))
    monkeypatch.setattr("engine.llm.load.load", lambda settings, wake: model)
    assert reply(EngineSettings(system=system)) == ("model", "Hello")
    assert model.asked[0].messages == Conversation(1).prompt(system, "Say hello.")


def test_speech_that_is_heard() -> None:
    outcome = Outcome("said", "whisper", "What is the capital of France?")
    assert judge_speech(outcome, "france").status == "ok"


def test_silence_where_there_is_speech_is_a_failure() -> None:
    finding = judge_speech(Outcome("said", "whisper", ""), "france")
    assert finding.status == "failure"
    assert "driver" in finding.advice


def test_other_words_are_a_warning() -> None:
    assert judge_speech(Outcome("said", "whisper", "Bonjour"), "france").status == "warning"


def test_a_reply_without_a_word_is_a_failure() -> None:
    assert judge_reply(Outcome("said", "llm", "")).status == "failure"
    assert judge_reply(Outcome("said", "llm", "Hello")).status == "ok"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_trial_that_does_not_speak_is_a_failure(kind) -> None:
    for finding in (judge_speech(Outcome(kind, error="why"), "x"), judge_reply(Outcome(kind))):
        assert finding.status == "failure"
    assert judge_speech(Outcome(kind, error="why"), "x").detail == "why"


@pytest.mark.parametrize("kind", ["said", *BROKEN])
def test_whatever_is_wrong_has_advice(kind) -> None:
    for outcome in (Outcome(kind, "model"), Outcome(kind, "model", "hm", error="why")):
        for finding in (judge_speech(outcome, "x"), judge_reply(outcome)):
            assert finding.advice or finding.status == "ok"


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("RuntimeError: CUDA error: no kernel image is available", "nvidia-smi"),
        ("AcceleratorError: CUDA error: an illegal memory access", "--device cpu"),
        ("RuntimeError: CUDA failed with error unknown error", "update the driver"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate", "smaller model"),
        ("KeyError: 'x'", "antiphon serve"),
    ],
)
def test_the_advice_suits_the_error(error: str, word: str) -> None:
    assert word in judge_reply(Outcome("raised", error=error)).advice
    assert "--asr-model" in judge_speech(Outcome("refused", error="why"), "x").advice


def test_no_token_in_time_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_REPLY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("engine.llm.load.load", lambda settings, wake: Model())
    with pytest.raises(DeadlineExceeded, match="no token within"):
        reply(EngineSettings())
    assert attempt(dawdle).kind == "late"
    assert "smaller model" in judge_reply(Outcome("late")).advice
