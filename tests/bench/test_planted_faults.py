"""The generator against a server that does wrong what it is told to: it reports each thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from faulty_server import FIRST_VALUE, LATE_S, STEP, serving

from benchmarks.load import run as run_module
from benchmarks.load.findings import Patience
from benchmarks.load.profiles import Window
from benchmarks.load.records import SessionPlan, TurnPlan
from benchmarks.load.run import Load, Server, measure
from benchmarks.load.speech import Clip
from benchmarks.load.verdict import Target

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "call and response between many voices",
    "a server that hears perfectly and answers wrongly",
    "seven green bottles are hanging on the wall",
    "nobody expected rain in the middle of august",
    "please bring two cups of coffee to the garden",
    "every message counts and none may come twice",
    "the last train leaves the station at midnight",
]
CLIPS = [
    Clip(text, text, "en", np.full(8000, FIRST_VALUE + STEP * index, np.int16))
    for index, text in enumerate(TEXTS)
]
PATIENCE = Patience(late_s=0.8, stall_s=0.6)
OPENING_S = 0.15


def one_after_another(
    sessions: int, window: Window, clips: list[Clip], seed: int
) -> list[SessionPlan]:
    """Session ``n`` is the server's connection ``n``, and says clip ``n`` twice."""
    opens = [OPENING_S * number for number in range(sessions)]
    return [
        SessionPlan(n, at_s, (TurnPlan(n, start_s=at_s + 0.3), TurnPlan(n, start_s=at_s + 0.8)))
        for n, at_s in enumerate(opens)
    ]


@pytest.fixture(autouse=True)
def _planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run_module.PROFILES, "planned", one_after_another)
    monkeypatch.setattr(run_module, "offline_texts", lambda clips: [clip.text for clip in clips])


def measured(faults: dict[int, str]) -> dict[str, Any]:
    load = Load(len(CLIPS), "planned", ramp_s=0.0, warmup_s=0.0, duration_s=3.0, drain_s=1.0)
    with serving(TEXTS, faults) as url:
        return measure(Server(url), load, CLIPS, Target(), PATIENCE, lambda *_: None)


def test_a_server_without_faults_has_no_findings() -> None:
    run = measured({})
    assert run["findings_list"] == []
    assert run["carried"], run["reasons"]
    assert run["opened"] == len(CLIPS)
    assert run["speech"]["turns"] == run["speech"]["answered"] == 2 * len(CLIPS)
    assert run["speech"]["partials"] == 2 * len(CLIPS)
    assert run["words"] == {
        "words": 2 * sum(len(text.split()) for text in TEXTS),
        "errors": 0,
        "percent": 0.0,
        "offline_errors": 0,
        "offline_percent": 0.0,
        "difference_se": 0.0,
    }
    assert run["latency"]["ack_ms"]["count"] == 2 * len(CLIPS) * 5


def test_each_planted_fault_is_reported_and_nothing_else() -> None:
    faults = {1: "late", 2: "lost_ack", 3: "doubled", 4: "swapped", 6: "stalled", 7: "mute"}
    run = measured(faults)
    found = {(one["kind"], one["session"], one["turn"], one["detail"])
             for one in run["findings_list"] if one["kind"] not in ("late", "stalled")}  # fmt: skip
    assert found == {
        ("missing", 2, None, "chunk_received: 1 of 10"),
        ("doubled", 3, 0, "chatbot_response: 2 times"),
        ("doubled", 3, 1, "chatbot_response: 2 times"),
        ("astray", 4, 0, "heard what session 5 said"),
        ("astray", 4, 1, "heard what session 5 said"),
        ("missing", 6, None, "chunk_received: 8 of 10"),
        *(("missing", session, turn, name)
          for session in (6, 7) for turn in (0, 1)
          for name in ("transcription", "chatbot_response", "segment_processed")),
    }  # fmt: skip
    late = {(one["session"], one["turn"]) for one in run["findings_list"] if one["kind"] == "late"}
    assert late == {(1, 0), (1, 1)}
    stalled = {one["session"] for one in run["findings_list"] if one["kind"] == "stalled"}
    assert 6 in stalled
    assert not run["carried"]


def test_a_late_server_neither_slows_the_speaker_nor_hides_its_lateness() -> None:
    """No coordinated omission: times count from when speech was due to end."""
    run = measured({1: "late"})
    latencies = {at_s: latency for at_s, latency, number in run["series"]["final"] if number == 1}
    # The second turn is said while the first still waits, and waits behind it.
    assert list(latencies) == pytest.approx([OPENING_S + 0.8, OPENING_S + 1.3])
    first, second = latencies.values()
    assert first >= LATE_S
    assert second >= 2 * LATE_S - 0.5
    assert run["speech"]["turns"] == 2 * len(CLIPS)


def test_errors_that_a_server_sends_are_counted() -> None:
    run = measured({5: "rude"})
    errors = [one for one in run["findings_list"] if one["kind"] == "error"]
    assert [(one["session"], one["detail"]) for one in errors] == [(5, "audio_undecodable: no")]
    assert run["errors"] == {"audio_undecodable": 1}
    assert run["reasons"] == ["1 × error"]


def test_a_server_that_is_not_there_is_an_error_of_every_session() -> None:
    load = Load(2, "planned", ramp_s=0.0, warmup_s=0.0, duration_s=0.5, drain_s=0.2)
    server = Server("ws://127.0.0.1:9")
    run = measure(server, load, CLIPS, Target(), PATIENCE, lambda *_: None)
    assert run["opened"] == 0
    assert run["findings"] == {"error": 2}
    assert run["reasons"] == ["no turn was measured: the run is too short"]
