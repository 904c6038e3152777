"""From the end of speech to the final text: one speaker, in real time, beside faster-whisper.

Utterances of 4 to 9 s are spoken to the real engine as a microphone would deliver them, with
partial transcripts each second, and the segment is ended with the last sample. Between them
faster-whisper (int8, greedy) is given the same audio, whole, when it is over. Each utterance is
heard twice: as recorded, and cut off where VAD heard its last speech, so that no pause at the end
gives anybody a start.

    ANTIPHON_SPEECH=... python -m benchmarks.final_time OUTPUT.json

Both sides run in this process, one at a time, on the same number of threads; both are warm. Times
count from the moment when the last sample was due, however late it was sent.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As in server/app.py, and before NumPy and OpenMP are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from faster_whisper import WhisperModel as FasterWhisper

from benchmarks.load import results
from benchmarks.load.words import compare
from benchmarks.whisper import read
from engine.config import EngineSettings
from engine.engine import Engine
from engine.models import resolve
from engine.types import SAMPLE_RATE, Event, Failure, Pcm, SessionOptions, Transcript
from engine.vad.endpointer import FRAME_SAMPLES, Endpointer, EndpointerConfig, Stopped
from engine.vad.silero import SileroVad
from engine.whisper.backend import TorchWhisper
from engine.whisper.row import RowResult
from server.sources import load

_PIECE_SAMPLES = SAMPLE_RATE // 25
_LEAST_S, _MOST_S = 4.0, 9.0
_WAIT_S = 60.0
ENDS = ("as recorded", "at the last speech")


@dataclass(frozen=True, slots=True)
class Utterance:
    name: str
    text: str
    pcm: Pcm


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance through the engine; ``passes`` is None where the backend does not count."""

    text: str
    final_s: float
    late_s: float
    partials: int
    passes: int | None


def choose(speech: Path, count: int) -> list[Utterance]:
    """Read sentences of 4 to 9 s, spread over the corpus: the same ones every time."""
    lines = [json.loads(line) for line in (speech / "manifest.jsonl").read_text().splitlines()]
    fitting = [
        line
        for line in lines
        if line["audio"].startswith(("librispeech", "ljspeech"))
        and _LEAST_S <= line["seconds"] <= _MOST_S
    ]
    spread = fitting[:: max(1, len(fitting) // count)][:count]
    return [Utterance(line["audio"], line["text"], read(speech / line["audio"])) for line in spread]


def end_of_speech(pcm: Pcm, vad: SileroVad, settings: EngineSettings) -> int:
    """The sample at which VAD heard the last speech of ``pcm`` end."""
    vad.reset(0)
    endpointer, end = Endpointer(EndpointerConfig.of(settings)), len(pcm)
    padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
    for frame in padded.reshape(-1, 1, FRAME_SAMPLES):
        event = endpointer.push(float(vad.step(frame, np.zeros(1, np.int64))[0]))
        end = event.speech_end_sample if isinstance(event, Stopped) else end
    event = endpointer.flush()
    return min(len(pcm), event.speech_end_sample if event else end)


class Speaker:
    """Says utterances to an engine, one at a time, at the pace of a microphone."""

    def __init__(self, settings: EngineSettings) -> None:
        self._events: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
        self._engine = Engine(settings, self._deliver)
        self._engine.start()
        self.name = self._engine.asr_name
        self._finished: list[int] | None = None  # decoder passes of each row that finished
        backend = self._engine._asr._backend
        if isinstance(backend, TorchWhisper):
            self._count(backend)

    def say(self, pcm: Pcm) -> Heard:
        """One session with one segment. Raises ``RuntimeError`` if it fails."""
        key = self._engine.open(SessionOptions(language="en", partials=True))
        began = time.monotonic()
        for first in range(0, len(pcm), _PIECE_SAMPLES):
            piece = pcm[first : first + _PIECE_SAMPLES]
            due = began + (first + len(piece)) / SAMPLE_RATE
            time.sleep(max(0.0, due - time.monotonic()))
            self._engine.feed(key, piece)
        before = len(self._finished or ())
        self._engine.end_segment(key)
        late_s = time.monotonic() - due
        partials = 0
        while True:
            at, event = self._events.get(timeout=_WAIT_S)
            if isinstance(event, Failure):
                raise RuntimeError(event.message)
            if isinstance(event, Transcript) and event.is_final:
                break
            partials += isinstance(event, Transcript)
        self._engine.close_session(key)
        passes = None if self._finished is None else sum(self._finished[before:])
        return Heard(event.text, at - due, late_s, partials, passes)

    def close(self) -> None:
        self._engine.close()

    def _deliver(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        for event in events:
            self._events.put((now, event))

    def _count(self, backend: TorchWhisper) -> None:
        finish, self._finished = backend._finish, []
        finished = self._finished

        def counted(slot: int, result: RowResult) -> Any:
            finished.append(result.passes)
            return finish(slot, result)

        backend._finish = counted


def listen(peer: FasterWhisper, pcm: Pcm) -> tuple[str, float]:
    """faster-whisper's text, and the seconds it took, called when all is said."""
    began = time.monotonic()
    segments, _ = peer.transcribe(pcm, language="en", beam_size=1)
    text = "".join(segment.text for segment in segments)
    return text, time.monotonic() - began


def figures(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "p50_s": float(np.percentile(seconds, 50)),
        "p95_s": float(np.percentile(seconds, 95)),
        "mean_s": float(np.mean(seconds)),
    }


def wer_percent(said: Sequence[Utterance], heard: Sequence[str]) -> float:
    errors = [compare(one.text, text, "en") for one, text in zip(said, heard, strict=True)]
    return 100 * sum(e.errors for e in errors) / sum(e.words for e in errors)


def summary(
    end: str, said: Sequence[Utterance], ours: Sequence[Heard], theirs: Sequence[tuple[str, float]]
) -> dict[str, Any]:
    """A run of the result: both sides' times, their ratios, words and work."""
    own, peer = figures([h.final_s for h in ours]), figures([s for _, s in theirs])
    passes = [h.passes for h in ours if h.passes is not None]
    return {
        "end": end,
        "utterances": len(said),
        "speech_s": sum(len(one.pcm) for one in said) / SAMPLE_RATE,
        "antiphon": own | {"wer_percent": wer_percent(said, [h.text for h in ours])},
        "faster_whisper": peer | {"wer_percent": wer_percent(said, [text for text, _ in theirs])},
        "ratio": {name.removesuffix("_s"): own[name] / peer[name] for name in own},
        "partials_mean": float(np.mean([h.partials for h in ours])),
        "passes_after_the_end_mean": float(np.mean(passes)) if passes else None,
        "sent_late_max_ms": 1e3 * max(h.late_s for h in ours),
        "each": [
            {"audio": one.name, "antiphon_s": h.final_s, "faster_whisper_s": s, "passes": h.passes}
            for one, h, (_, s) in zip(said, ours, theirs, strict=True)
        ],
    }


def measure(said: Sequence[Utterance], settings: EngineSettings) -> Iterator[dict[str, Any]]:
    folder = resolve(settings.asr_model, "asr", settings.home)
    peer = FasterWhisper(
        str(folder), device="cpu", compute_type="int8", cpu_threads=settings.threads
    )
    vad = SileroVad(1)
    speaker = Speaker(settings)
    speaker.say(said[0].pcm)  # warms the lengths of context that are in use
    listen(peer, said[0].pcm)
    for end in ENDS:
        spoken = [
            one
            if end == ENDS[0]
            else Utterance(one.name, one.text, one.pcm[: end_of_speech(one.pcm, vad, settings)])
            for one in said
        ]
        pairs = [(speaker.say(one.pcm), listen(peer, one.pcm)) for one in spoken]
        run = summary(end, spoken, [own for own, _ in pairs], [theirs for _, theirs in pairs])
        yield {"asr": speaker.name} | run
    speaker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="JSON file of the result")
    parser.add_argument("--clips", type=int, default=12, help="utterances (default: 12)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (default: 2)")
    parser.add_argument("--asr", default="auto", choices=["auto", "torch", "ctranslate2"])
    args = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as the server has it
    settings = EngineSettings(
        home=load({}, os.environ).home,
        asr=args.asr,
        threads=args.threads,
        partial_interval_s=1.0,
        llm="echo",
    )
    said = choose(Path(os.environ["ANTIPHON_SPEECH"]), args.clips)
    about = {"model": settings.asr_model, "threads": args.threads, "partial_interval_s": 1.0}
    result = results.start("final_time", about)
    for run in measure(said, settings):
        result["runs"].append(run)
        results.write(result, args.output)
        print(json.dumps({name: value for name, value in run.items() if name != "each"}))


if __name__ == "__main__":
    main()
