"""What becomes of conversations while a remote language model's server does not answer."""

from __future__ import annotations

import socket

import pytest
from lane_fakes import Listener, LoudIsSpeech

from engine import engine as engine_module
from engine.config import EngineSettings


@pytest.mark.parametrize("outage", ["refuse", "transcribe"])
def test_a_setting_says_whether_conversations_begin(
    outage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "load_asr", lambda settings, device: Listener())
    monkeypatch.setattr(engine_module, "SileroVad", lambda slots, device: LoudIsSpeech())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    given = {"llm": "openai", "llm_url": f"http://127.0.0.1:{port}", "llm_outage": outage}
    engine = engine_module.Engine(EngineSettings.model_validate(given), lambda events: None)
    engine.start()
    transcribes = outage == "transcribe"
    told = engine.degraded if transcribes else engine.problem
    assert "cannot be reached" in str(told)
    assert engine.ready is transcribes
    assert (engine.problem is None) is transcribes
    assert (engine.degraded is None) is not transcribes
    engine.close()
