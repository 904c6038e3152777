"""What the engine's savings cost in words, and what they save in work, on the speech corpus.

With CTranslate2 every English clip of the corpus is transcribed twice by the same model: as Whisper
would, with 30 seconds of context and all its silence; and as the engine does, trimmed by VAD, with
the shortest context that is safe. With torch the first is in float32, and the second has every
saving on: bfloat16 where the processor has it, partials as drafts, settled words forced, guesses
at pauses that stand for finals. Prints and writes word error rates and the processor time of the
encoder, or of everything.

Which of two likely words a model takes can hang on a few milliseconds of silence before them: with
as many words as here, that alone moves a word error rate by half a point. So every clip is heard
several times, each time a little later, and the standard error of the difference is told.

    ANTIPHON_SPEECH=../shared/speech python -m benchmarks.context --asr torch
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ctranslate2
import jiwer
import numpy as np
from rich.progress import track
from whisper_normalizer.english import EnglishTextNormalizer

from benchmarks.load import results
from engine.asr.backend import AsrBackend, AsrJob
from engine.asr.ct2 import CTranslate2Whisper
from engine.asr_lane import AsrLane, Submit
from engine.config import EngineSettings
from engine.models import resolve
from engine.slot import End, Slot
from engine.types import SAMPLE_RATE, Pcm, SessionOptions, Transcript
from engine.vad.silero import SileroVad
from engine.whisper.backend import TorchWhisper
from server.audio_file import read_pcm

Row = tuple[str, Callable[[Pcm], str], Callable[[], float]]
SETS = ("librispeech", "ljspeech", "questions")
NORMAL = EnglishTextNormalizer()


class TimedWhisper(CTranslate2Whisper):
    """Adds up the processor time of its encoder."""

    encode_s = 0.0

    def _encode(self, jobs: Sequence[AsrJob]) -> ctranslate2.StorageView:
        began = time.process_time()
        encoded = super()._encode(jobs)
        np.asarray(encoded)  # waits for the result
        self.encode_s += time.process_time() - began
        return encoded


@dataclass
class Clip:
    pcm: Pcm
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base", help="Whisper model (default: base)")
    parser.add_argument("--asr", default="ctranslate2", choices=["ctranslate2", "torch"])
    parser.add_argument(
        "--shifts-ms",
        type=lambda text: [int(shift) for shift in text.split(",")],
        default=[0, 110, 230],
        help="silence before each clip, one hearing for each (default: 0,110,230)",
    )
    parser.add_argument("--out", type=Path, help="(default: benchmarks/results/context-ASR.json)")
    args = parser.parse_args()
    out = args.out or results.RESULTS / f"context-{args.asr}.json"
    clips = load_clips(Path(os.environ["ANTIPHON_SPEECH"]))
    settings = EngineSettings()
    folder = resolve(args.model, "asr", settings.home)
    rows = in_torch(folder, settings) if args.asr == "torch" else in_ctranslate2(folder, settings)
    told = {
        "model": args.model,
        "asr": args.asr,
        "speech_s": round(sum(len(c.pcm) for c in clips) / SAMPLE_RATE, 1),
        "shifts_ms": args.shifts_ms,
    }
    report = results.head("context", told) | {"rows": {}}
    spent = "encode_cpu_s" if args.asr == "ctranslate2" else "cpu_s"
    reference: list[int] = []
    for name, transcribe, cpu_s in rows:
        before = cpu_s()
        heard = [
            transcribe(later(clip.pcm, shift))
            for shift in track(args.shifts_ms, name)
            for clip in clips
        ]
        errors = [wrong_words(clips[i % len(clips)].text, text) for i, text in enumerate(heard)]
        reference = reference or errors
        report["rows"][name] = word_errors(errors, reference, words(clips), len(clips)) | {
            spent: round((cpu_s() - before) / len(args.shifts_ms), 2),
        }
        print(name, report["rows"][name])
        results.write(report, out)
    print(f"written to {out}")


def in_ctranslate2(folder: Path, settings: EngineSettings) -> Iterator[Row]:
    backend = TimedWhisper(folder, threads=1)
    backend.warmup()
    yield "whisper_30_s", partial(whole, backend), lambda: backend.encode_s
    yield "engine", engine(backend, settings), lambda: backend.encode_s


def in_torch(folder: Path, settings: EngineSettings) -> Iterator[Row]:
    reference = TorchWhisper(folder, compute_type="float32", threads=1)
    yield "whisper_30_s_float32", partial(whole, reference), time.process_time
    backend = TorchWhisper(folder, threads=1)
    backend.warmup()
    yield "engine", engine(backend, settings), time.process_time
    yield "engine_streamed", engine(backend, settings, streamed=True), time.process_time


def load_clips(folder: Path) -> list[Clip]:
    lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    rows = [row for row in lines if row["audio"].split("/")[0] in SETS and row["seconds"] < 28]
    return [Clip(read(folder / row["audio"]), row["text"]) for row in rows]


def read(path: Path) -> Pcm:
    return np.frombuffer(b"".join(read_pcm(path)), "<i2").astype(np.float32) / 32768


def whole(backend: AsrBackend, pcm: Pcm) -> str:
    """Whisper's own way: the clip as it is, in 30 seconds, with its fallbacks."""
    job = AsrJob(0, 0, 0, pcm, is_final=True, language="en", full_context=True)
    return decode(backend, job)


def engine(
    backend: AsrBackend, settings: EngineSettings, *, streamed: bool = False
) -> Callable[[Pcm], str]:
    """The engine's way: VAD, the slot's windows, the short context, its fallbacks.

    ``streamed``: with partials and guesses, each answered before more is heard.
    """
    vad, keys = SileroVad(1), count()

    def transcribe(pcm: Pcm) -> str:
        vad.reset(0)
        options = SessionOptions(language="en", partials=streamed)
        slot = Slot(next(keys), 0, options, settings, backend.decode)
        slot.put(pcm)
        slot.put(End(0.0))
        lane = AsrLane(backend, lambda _: None)
        while True:
            _, end = slot.take()
            if end is None:
                probability = vad.step(slot.frame()[None], np.zeros(1, np.int64))[0]
                work = slot.heard(float(probability), 0.0, idle=streamed)
            else:
                work = slot.end(end, 0.0)
            while work.submit is not None:
                commands = [Submit(work.submit)]
                while not (heard := lane.turn(commands)):
                    commands = []
                work = slot.answer(heard[0].hypothesis, heard[0].verdict, 0.0)
            for event in work.events:
                if isinstance(event, Transcript) and event.is_final:
                    return event.text

    return transcribe


def decode(backend: AsrBackend, job: AsrJob) -> str:
    lane = AsrLane(backend, lambda _: None)
    heard = lane.turn([Submit(job)])
    while not heard:
        heard = lane.turn([])
    return heard[0].hypothesis.text


def later(pcm: Pcm, shift_ms: int) -> Pcm:
    silence = np.zeros(shift_ms * SAMPLE_RATE // 1000, np.float32)
    return np.concatenate([silence, pcm], dtype=np.float32)


def wrong_words(said: str, heard: str) -> int:
    counts = jiwer.process_words(NORMAL(said), NORMAL(heard) or "-")
    return int(counts.substitutions + counts.insertions + counts.deletions)


def words(clips: Sequence[Clip]) -> int:
    return sum(len(NORMAL(clip.text).split()) for clip in clips)


def word_errors(
    errors: Sequence[int], reference: Sequence[int], words: int, clips: int
) -> dict[str, object]:
    """Rates in percent: the mean, each hearing's, and how far from the first row they are.

    ``errors`` are wrong words of each clip, of all clips in one hearing after the other.
    """
    hearings = len(errors) // clips
    percent = 100 / words
    by_clip = (np.array(errors) - np.array(reference)).reshape(hearings, clips).mean(0)
    by_hearing = np.array(errors).reshape(hearings, clips).sum(1)
    return {
        "wer_percent": round(float(by_hearing.mean()) * percent, 2),
        "wer_percent_of_each": [round(float(total) * percent, 2) for total in by_hearing],
        "above_first_percent": round(float(by_clip.sum()) * percent, 2),
        "standard_error_percent": round(float(np.sqrt((by_clip**2).sum())) * percent, 2),
    }


if __name__ == "__main__":
    main()
