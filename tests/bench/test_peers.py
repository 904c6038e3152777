"""Peers: how they are installed, started and given up on, and the server that most build first."""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.load.pacing import Clock
from benchmarks.load.records import SessionPlan, SessionRecord, TurnPlan
from benchmarks.load.talker import Talker
from benchmarks.peers import environment, peer_process
from benchmarks.peers.compare_command import ratio
from benchmarks.peers.environment import PeerUnavailable
from benchmarks.peers.registry import HERE, OURS, PEERS
from benchmarks.peers.utterance_server import ENGINES, Listener


def test_every_peer_has_a_server_and_says_what_it_cannot_do() -> None:
    for name, peer in PEERS.items():
        if name != OURS:
            assert (HERE / peer.script).is_file()
            assert peer.environment
            assert peer.cannot
    used = {peer.arguments[1] for peer in PEERS.values() if "--engine" in peer.arguments}
    assert used == set(ENGINES)


def test_a_peer_that_cannot_be_installed_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    peer = replace(PEERS["whisper-cpp"], packages=(str(tmp_path / "missing.whl"),))
    with pytest.raises(PeerUnavailable, match=r"pip failed: ERROR: .*missing\.whl"):
        environment.python_of(peer)
    with pytest.raises(PeerUnavailable):
        environment.python_of(peer)  # a half-made environment is not taken for a whole one


def test_a_peer_that_does_not_start_says_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whisper_tiny: Path
) -> None:
    monkeypatch.setattr(environment, "python_of", lambda peer: Path(sys.executable))
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no such model')")
    peer = replace(PEERS["faster-whisper"], script=str(script))
    with (
        pytest.raises(PeerUnavailable, match="did not start: no such model"),
        peer_process.running("faster-whisper", peer, "tiny.en", 1),
    ):
        pass


def test_an_utterance_is_transcribed_when_it_has_ended_one_at_a_time() -> None:
    busy: list[str] = []

    def transcribe(pcm: Any, language: str) -> str:
        assert busy == []
        busy.append(language)
        time.sleep(0.05)  # as a model would: the lock must hold the others back
        busy.pop()
        return f"{len(pcm)} samples of {language}"

    records = asyncio.run(_two_talkers(transcribe))
    for record in records:
        assert record.errors == record.unexpected == []
        assert len(record.acks_ms) == record.chunks == 4
        assert [turn.text for turn in record.turns] == ["3200 samples of en"] * 2
        assert [turn.finals + turn.responses + turn.processed for turn in record.turns] == [3, 3]
        assert all(turn.partials == 0 for turn in record.turns)


async def _two_talkers(transcribe: Any) -> list[SessionRecord]:
    lock = ThreadPoolExecutor(1)

    async def handle(socket: ServerConnection) -> None:
        await Listener(socket, transcribe, lock).run()

    pieces = [(0.05, bytes(3200)), (0.1, bytes(3200))]
    turns = (TurnPlan(0, 0.3), TurnPlan(0, 0.4))
    async with serve(handle, "127.0.0.1", 0, compression=None) as server, asyncio.timeout(10):
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        clock = Clock(time.monotonic())
        plans = [SessionPlan(number, 0.0, turns) for number in range(2)]
        talkers = [Talker(url, None, plan, [pieces, pieces], clock, 5.0) for plan in plans]
        await asyncio.gather(*(talker.run() for talker in talkers))
        return [talker.record for talker in talkers]


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"), [(3.0, 1.5, "2.0"), (None, 1.0, "—"), (1.0, None, "—")]
)
def test_a_ratio_needs_both_figures(
    theirs: float | None, ours: float | None, expected: str
) -> None:
    assert ratio({"cost": {"cpu": theirs}}, {"cost": {"cpu": ours}}, "cost", "cpu") == expected
    assert ratio({"cost": {"cpu": 1.0}}, None, "cost", "cpu") == "—"
