"""How soon a reply ends when somebody cuts in, with the real models: by ``cancel``, and by speech.

    ANTIPHON_SPEECH=../shared/speech python -m benchmarks.barge_in

``response_ms`` is from the client's ``cancel`` to its ``chatbot_response``; with speech, from the
moment when the microphone had the sample at which speech began, so that it holds the 192 ms of
speech that VAD asks for; ``heard_to_response_ms`` is from ``speech_started``. ``generation_ms`` is
from the moment when the language model's lane takes the cancel to when the library has let go of
the reply: the server's own count (stage ``llm_cancel``). One at a time cuts in, while the others
go on talking.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.early_start import CHUNK_BYTES, CHUNK_S, load_clips
from benchmarks.machine import describe
from server.audio_file import BYTES_PER_S
from server.client import Client
from server.config import Settings
from server.process import ServerProcess

BY = ("cancel", "speech")
TARGET_MS = 50
PIECES_BEFORE = 4  # of a reply that is then cut
TURN_TIMEOUT_S = 120  # three others may have their turn before
LET_GO_TRIES, LET_GO_EVERY_S = 100, 0.02
# A reply begun early and thrown away would be counted as cancelled too; and after a history of
# replies that were cut short, the small model gives short ones.
SERVER = ("--llm-max-tokens", "400", "--early-start", "false", "--max-history-turns", "0")
VAD_PADDING_S = Settings.model_fields["vad_padding_ms"].default / 1000
OPTIONS = {
    "events": ["vad", "token"],
    "language": "en",
    "system": "You tell very long stories about the sea, whatever you are asked.",
    "audio": {"format": "pcm_s16le", "sample_rate": 16_000},
}


@dataclass
class Tally:
    """What was measured, in milliseconds, and how often the reply was over before."""

    response_ms: list[float] = field(default_factory=list)
    heard_to_response_ms: list[float] = field(default_factory=list)
    generation_ms: list[float] = field(default_factory=list)
    too_short: int = 0
    generated_before: int = 0  # the library had no more to let go of

    def report(self) -> dict[str, Any]:
        figures = {name: spread(values) for name, values in vars(self).items()
                   if isinstance(values, list) and values}  # fmt: skip
        counts = {
            "interruptions": len(self.response_ms),
            "too_short": self.too_short,
            "generated_before": self.generated_before,
        }
        return counts | figures


def spread(values: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(values, (50, 95))
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "max": round(max(values), 1)}


class Speaker:
    """One session; remembers when each message came and when each sample was sent."""

    def __init__(self, client: Client, clips: Iterator[bytes]) -> None:
        self._client = client
        self._clips = clips
        self._messages: asyncio.Queue[tuple[float, dict[str, Any]]] = asyncio.Queue()
        self._last_turn = 0  # that VAD, or the button, has ended
        self._sent_bytes = 0
        self._sent_at: list[tuple[float, float]] = []  # seconds of audio, time
        self._now = asyncio.get_running_loop().time

    async def listen(self) -> None:
        async for message in self._client:
            if message["type"] == "speech_stopped":
                self._last_turn = message["turn"]
            self._messages.put_nowait((self._now(), message))

    async def ask(self, button: bool) -> bool:
        """Say something and hear a few pieces of the reply; False if that was all of it."""
        await self._send(next(self._clips) + (b"" if button else bytes(BYTES_PER_S)))
        if button:
            await self._client.end_segment()
        pieces = 0
        while pieces < PIECES_BEFORE:
            _, message = await self._next("response_delta", "chatbot_response")
            pieces += 1
            if message["type"] == "chatbot_response":
                if message["turn"] >= self._last_turn and not message.get("cancelled"):
                    return False
                pieces = 0  # of what was said before a pause: a turn follows
        return True

    async def cancel(self, tally: Tally) -> bool:
        began = self._now()
        await self._client.cancel()
        at, answer = await self._next("chatbot_response")
        if not answer.get("cancelled"):
            return False
        tally.response_ms.append(1e3 * (at - began))
        return True

    async def speak_over(self, tally: Tally) -> bool:
        """Speak in real time until the reply ends; the rest of the clip goes into the next turn."""
        talking = asyncio.create_task(self._talk(next(self._clips)))
        heard_at, started = await self._next("speech_started", "chatbot_response")
        cut = started["type"] == "speech_started"
        at, answer = await self._next("chatbot_response") if cut else (heard_at, started)
        talking.cancel()
        await asyncio.wait([talking])
        if not cut or not answer.get("cancelled"):
            return False
        tally.heard_to_response_ms.append(1e3 * (at - heard_at))
        tally.response_ms.append(1e3 * (at - self._time_of(started["at_s"] + VAD_PADDING_S)))
        return True

    async def _talk(self, pcm: bytes) -> None:
        began = self._now()
        for number, start in enumerate(range(0, len(pcm), CHUNK_BYTES), 1):
            await asyncio.sleep(began + number * CHUNK_S - self._now())
            await self._send(pcm[start : start + CHUNK_BYTES])

    async def _send(self, pcm: bytes) -> None:
        self._sent_bytes += len(pcm)
        self._sent_at.append((self._sent_bytes / BYTES_PER_S, self._now()))
        await self._client.send_audio(pcm)

    def _time_of(self, at_s: float) -> float:
        return next(sent for seconds, sent in self._sent_at if seconds >= at_s)

    async def _next(self, *kinds: str) -> tuple[float, dict[str, Any]]:
        while True:
            at, message = await self._messages.get()
            if message["type"] in kinds:
                return at, message


def let_go(url: str) -> tuple[float, float]:
    """How many cancelled replies the library has let go of, and the seconds that took together."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    found = dict(re.findall(r'^antiphon_stage_seconds_(count|sum)\{stage="llm_cancel"\} (\S+)$',
                            text, re.MULTILINE))  # fmt: skip
    return float(found.get("count", 0)), float(found.get("sum", 0))


async def interrupt(one: Speaker, by: str, url: str, turn: asyncio.Lock, tally: Tally) -> None:
    """One reply, and its end."""
    async with asyncio.timeout(TURN_TIMEOUT_S):
        if not await one.ask(by == "cancel"):
            tally.too_short += 1
            return
        async with turn:
            count, seconds = await asyncio.to_thread(let_go, url)
            cut = await (one.cancel(tally) if by == "cancel" else one.speak_over(tally))
            if not cut:
                tally.too_short += 1
                return
            for _ in range(LET_GO_TRIES):
                after, total = await asyncio.to_thread(let_go, url)
                if after > count:
                    tally.generation_ms.append(1e3 * (total - seconds))
                    return
                await asyncio.sleep(LET_GO_EVERY_S)
            tally.generated_before += 1


async def measure(
    server: ServerProcess, by: str, sessions: int, rounds: int, clips: list[bytes]
) -> dict[str, Any]:
    """``rounds`` interruptions by each of ``sessions``."""
    tally, turn = Tally(), asyncio.Lock()
    hands_free = {"endpointing": "server", "barge_in": True} if by == "speech" else {}

    async def converse(first: int) -> None:
        async with await Client.connect(server.ws_url, **OPTIONS | hands_free) as client:
            one = Speaker(client, cycle(clips[first:] + clips[:first]))
            listening = asyncio.create_task(one.listen())
            for _ in range(rounds):
                await interrupt(one, by, server.url, turn, tally)
            await client.close()
            await listening

    async with asyncio.TaskGroup() as group:
        for number in range(sessions):
            group.create_task(converse(number % len(clips)))
    return {"by": by, "sessions": sessions} | tally.report()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--by", nargs="+", choices=BY, default=BY)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=20, help="of each session (default: 20)")
    parser.add_argument("--shared", action="store_true", help="others used the machine meanwhile")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/barge_in.json"))
    args = parser.parse_args()
    clips = load_clips(Path(os.environ["ANTIPHON_SPEECH"]), 12)
    report: dict[str, Any] = {"machine": describe(), "shared_machine": args.shared}
    report |= {"target_ms": TARGET_MS, "runs": []}
    with ServerProcess() as server:
        server.start(SERVER)
        for by in args.by:
            for sessions in args.sessions:
                run = asyncio.run(measure(server, by, sessions, args.rounds, clips))
                report["runs"].append(run)
                print(json.dumps(run))
                args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
