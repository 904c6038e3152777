"""What it brings to begin replies before the turn is over: hits, time saved, work thrown away.

One conversation in real time with a real server, twice: with `early_start` and without it. Hands
free, VAD ends the segments; with a button, the client does, `--release-s` after the end of the
recording; with a button and two recordings a turn, so that a reply is begun in vain between them.
`_partials`: the same with partial transcripts, so that a finished sentence starts work as well as a
pause; with early start only. The share of hits counts turns; the time is that from the final
transcript to the reply's first piece, and the work wasted is counted in pieces of text that nobody
saw, and in prompts.

    ANTIPHON_SPEECH=../shared/speech python -m benchmarks.early_start
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.machine import describe
from server.audio_file import BYTES_PER_S, read_pcm
from server.client import Client
from server.process import ServerProcess

PARTS = (
    *("hands_free", "button", "button_pausing"),
    *("hands_free_partials", "button_partials", "button_pausing_partials"),
)
CHUNK_S = 0.032
CHUNK_BYTES = int(BYTES_PER_S * CHUNK_S)
LONGEST_CLIP_S = 7.5
TURN_TIMEOUT_S = 60
Figures = dict[str, Any]


@dataclass
class Listener:
    """Counts what a conversation has come to."""

    client: Client
    answers: list[dict[str, Any]] = field(default_factory=list)
    ended: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        async for message in self.client:
            async with self.changed:
                self.ended += message["type"] == "speech_stopped"
                if message["type"] == "chatbot_response":
                    self.answers.append(message)
                self.changed.notify_all()


async def stream(client: Client, pcm: bytes) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, start in enumerate(range(0, len(pcm), CHUNK_BYTES), 1):
        await asyncio.sleep(began + number * CHUNK_S - loop.time())
        await client.send_audio(pcm[start : start + CHUNK_BYTES])


async def hands_free_turn(one: Listener, pcm: bytes) -> None:
    """The recording, then silence until everything that VAD ended is answered."""
    await stream(one.client, pcm + bytes(BYTES_PER_S))
    while not one.ended or len(one.answers) < one.ended:
        await stream(one.client, bytes(CHUNK_BYTES))


async def button_turn(one: Listener, pcm: bytes, release_s: float) -> None:
    before = len(one.answers)
    await stream(one.client, pcm + bytes(2 * int(BYTES_PER_S * release_s / 2)))
    await one.client.end_segment()
    async with one.changed:
        await one.changed.wait_for(lambda: len(one.answers) > before)


async def converse(
    url: str, clips: list[bytes], release_s: float | None, partials: bool
) -> list[dict[str, Any]]:
    options: dict[str, object] = {
        "events": ["vad", "timings", *(["partial"] if partials else [])],
        "language": "en",
        "endpointing": "server" if release_s is None else "client",
        "audio": {"format": "pcm_s16le", "sample_rate": 16_000},
    }
    async with await Client.connect(url, **options) as client:
        one = Listener(client)
        listening = asyncio.create_task(one.listen())
        for pcm in track(clips, "hands free" if release_s is None else "button"):
            async with asyncio.timeout(TURN_TIMEOUT_S):
                if release_s is None:
                    await hands_free_turn(one, pcm)
                else:
                    await button_turn(one, pcm, release_s)
        await client.close()
        await listening
    return [answer for answer in one.answers if answer["transcription"]]


class Counters:
    """What the server has counted, as it tells Prometheus."""

    def __init__(self, url: str) -> None:
        self._text = urllib.request.urlopen(f"{url}/metrics").read().decode()

    def sum(self, name: str, **labels: str) -> float:
        """Over all samples of the counter that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = re.findall(rf"^antiphon_{name}_total{{(.*)}} (\S+)$", self._text, re.MULTILINE)
        return sum(float(value) for has, value in found if all(one in has for one in wanted))


def measure(clips: list[bytes], release_s: float | None, partials: bool, early: bool) -> Figures:
    """One server, one conversation; milliseconds are medians over the turns."""
    with ServerProcess() as server:
        url = server.start(["--early-start", str(early)])
        answers = asyncio.run(converse(server.ws_url, clips, release_s, partials))
        counted = Counters(url)
    timings = [answer["timings"] for answer in answers]
    reply_ms = [t["first_token"] - t["asr"] for t in timings if "first_token" in t]

    def replies(outcome: str, **after: str) -> int:
        return int(counted.sum("early_replies", outcome=outcome, **after))

    made = counted.sum("llm_tokens", kind="generated")
    wasted = counted.sum("early_pieces", outcome="miss")
    return {
        "turns": len(answers),
        "hits": replies("hit"),
        "hits_after_a_sentence": replies("hit", after="sentence"),
        "misses": replies("miss"),
        "misses_after_a_sentence": replies("miss", after="sentence"),
        "prefilled": replies("prefilled"),
        "prefilled_in_vain": replies("prefilled_miss"),
        "not_begun": replies("busy"),
        "hit_share": round(replies("hit") / len(answers), 3),
        "transcript_ms_p50": round(statistics.median(t["asr"] for t in timings), 1),
        "transcript_to_first_piece_ms_p50": round(statistics.median(reply_ms), 1),
        "transcript_to_first_piece_ms_max": round(max(reply_ms), 1),
        "answer_ms_p50": round(statistics.median(t["total"] for t in timings), 1),
        "pieces_wasted": int(wasted),
        "wasted_share": round(wasted / (wasted + made), 3),
    }


def load_clips(folder: Path, count: int) -> list[bytes]:
    lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    rows = [row for row in lines if row["audio"].startswith("questions/")]
    rows = [row for row in rows if row["seconds"] < LONGEST_CLIP_S][-count:]
    return [b"".join(read_pcm(folder / row["audio"])) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--release-s", type=float, default=0.4)
    parser.add_argument("--pause-s", type=float, default=0.5)
    parser.add_argument("--shared", action="store_true", help="others used the machine meanwhile")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/early_start.json"))
    args = parser.parse_args()
    clips = load_clips(Path(os.environ["ANTIPHON_SPEECH"]), args.clips)
    report: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    report |= {"machine": describe(), "shared_machine": args.shared}
    report |= {"release_s": args.release_s, "pause_s": args.pause_s}
    for name in args.parts:
        turns = clips
        if name.startswith("button_pausing"):
            pause = bytes(2 * int(BYTES_PER_S * args.pause_s / 2))
            turns = [pause.join(pair) for pair in zip(clips[::2], clips[1::2], strict=False)]
        release_s = None if name.startswith("hands_free") else args.release_s
        partials = name.endswith("_partials")
        report[name] = {"with_early_start": measure(turns, release_s, partials, True)}
        if not partials:  # they change nothing after the transcript
            report[name]["without"] = measure(turns, release_s, partials, False)
        print(name, json.dumps(report[name], indent=2))
        args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
