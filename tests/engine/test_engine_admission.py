"""Who is let in: places, and how far behind speech recognition is."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from lane_fakes import Listener, LoudIsSpeech
from patience import wait_until
from prometheus_client import REGISTRY

from engine import engine as engine_module
from engine.asr.backend import AsrJob, Hypothesis
from engine.config import EngineSettings
from engine.engine import Engine
from engine.errors import Overloaded
from engine.types import Event, SessionOptions, Transcript

WAIT_S = 10


class Busy(Listener):
    """Has no room for anybody until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self.free = threading.Event()

    def capacity(self, job: AsrJob) -> int:
        self.asked.release()
        return 8 if self.free.is_set() else 0


class Rig:
    """A real engine around models that are not."""

    def __init__(self, patch: pytest.MonkeyPatch, **limits: float) -> None:
        self.model = Busy()
        patch.setattr(engine_module, "load_asr", lambda settings, device: self.model)
        patch.setattr(engine_module, "check_models", lambda settings: None)
        patch.setattr(engine_module, "SileroVad", lambda slots, device: LoudIsSpeech())
        self.finals: queue.SimpleQueue[Transcript] = queue.SimpleQueue()
        settings = EngineSettings(llm="echo", **limits)  # type: ignore[arg-type]
        self.engine = Engine(settings, self._deliver)
        self.engine.start()

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Transcript) and event.is_final:
                self.finals.put(event)

    def say(self, key: int) -> None:
        self.engine.feed(key, np.full(32_000, 0.9, np.float32))
        self.engine.end_segment(key)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = Rig(monkeypatch, max_sessions=3, max_lag_s=1e-6)
    yield made
    made.engine.close()


def test_nobody_comes_in_while_finals_wait_and_then_they_may_again(rig: Rig) -> None:
    key = rig.engine.open(SessionOptions())
    rig.engine.open(SessionOptions())
    rig.say(key)
    for _ in range(2):  # the second time that it is asked, a turn of the lane has gone by
        assert rig.model.asked.acquire(timeout=WAIT_S)
    with pytest.raises(Overloaded, match="Speech waits"):
        rig.engine.open(SessionOptions())
    rig.model.free.set()
    assert rig.finals.get(timeout=WAIT_S).key == key
    assert rig.engine.open(SessionOptions()) > key


def test_a_place_is_free_again_when_its_session_closes(rig: Rig) -> None:
    keys = [rig.engine.open(SessionOptions()) for _ in range(3)]
    with pytest.raises(Overloaded, match="All 3 places"):
        rig.engine.open(SessionOptions())
    rig.engine.close_session(keys[1])
    rig.engine.close_session(keys[1])
    assert rig.engine.open(SessionOptions()) not in keys
    with pytest.raises(Overloaded):
        rig.engine.open(SessionOptions())


def test_passing_a_slot_on_is_no_admission(rig: Rig) -> None:
    """Neither places nor lag count: a client that comes back must not lose its slot."""
    keys = [rig.engine.open(SessionOptions()) for _ in range(3)]
    rig.say(keys[0])
    for _ in range(2):
        assert rig.model.asked.acquire(timeout=WAIT_S)
    with pytest.raises(Overloaded):
        rig.engine.open(SessionOptions())
    again = rig.engine.reopen(keys[1], SessionOptions())
    assert again not in keys
    with pytest.raises(Overloaded):
        rig.engine.open(SessionOptions())
    rig.model.free.set()
    assert rig.finals.get(timeout=WAIT_S).key == keys[0]
    rig.say(again)
    assert rig.finals.get(timeout=WAIT_S).key == again


def test_while_the_speech_model_hangs_the_engine_is_not_ready_and_nobody_comes_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch, step_timeout_s=0.05)
    let_go = threading.Event()
    step = rig.model.step

    def hang() -> list[Hypothesis]:
        assert let_go.wait(WAIT_S)
        return step()

    rig.model.step = hang  # type: ignore[method-assign]
    rig.model.free.set()
    key = rig.engine.open(SessionOptions())
    assert rig.engine.ready
    rig.say(key)
    wait_until(lambda: not rig.engine.ready)
    assert "hangs" in str(rig.engine.problem)
    assert rig.engine.dead is None
    with pytest.raises(Overloaded, match="hangs"):
        rig.engine.open(SessionOptions())
    lag = REGISTRY.get_sample_value("antiphon_lag_seconds")
    assert lag is not None
    assert lag > 0
    let_go.set()
    assert rig.finals.get(timeout=WAIT_S).key == key
    wait_until(lambda: rig.engine.ready)
    rig.engine.open(SessionOptions())
    rig.engine.close()


def test_one_more_than_can_be_served_in_time_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch, latency_target_s=0.05)
    rig.model.free.set()
    rig.engine._admission.calibrate(0.04, 1.0)
    rig.engine.open(SessionOptions())
    with pytest.raises(Overloaded, match=r"longer than 0\.05 s") as refused:
        rig.engine.open(SessionOptions())
    assert refused.value.retry_after_ms
    assert REGISTRY.get_sample_value("antiphon_latency_target_seconds") == 0.05
    estimate = REGISTRY.get_sample_value("antiphon_latency_estimate_seconds")
    assert estimate is not None
    assert estimate > 0.05
    rig.engine.close()
