"""What the short encoder context costs in words and saves in work, on the speech corpus.

Every English clip of the corpus is transcribed twice by the same model: as Whisper would, with 30
seconds of context and all its silence; and as the engine does, trimmed by VAD, with the shortest
context that is safe. Prints and writes word error rates and the encoder's processor time.

    ANTIPHON_SPEECH=../shared/speech python -m benchmarks.context
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ctranslate2
import jiwer
import numpy as np
from rich.progress import track
from whisper_normalizer.english import EnglishTextNormalizer

from benchmarks.machine import describe
from engine.asr.backend import AsrJob
from engine.asr.ct2 import CTranslate2Whisper
from engine.asr_lane import AsrLane, Submit
from engine.config import EngineSettings
from engine.models import resolve
from engine.slot import End, Slot
from engine.types import Pcm, SessionOptions, Transcript
from engine.vad.silero import SileroVad
from server.audio_file import read_pcm

SETS = ("librispeech", "ljspeech", "questions")


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
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/context.json"))
    args = parser.parse_args()
    clips = load_clips(Path(os.environ["ANTIPHON_SPEECH"]))
    settings = EngineSettings()
    backend = TimedWhisper(resolve(args.model, "asr", settings.home), threads=1)
    backend.warmup()
    results = {}
    for name, transcribe in (("whisper_30_s", whole), ("engine", engine(settings))):
        backend.encode_s = 0.0
        heard = [transcribe(backend, clip.pcm) for clip in track(clips, name)]
        results[name] = {
            "wer_percent": round(100 * wer(clips, heard), 2),
            "encode_cpu_s": round(backend.encode_s, 2),
        }
        print(name, results[name])
    results["encode_ratio"] = round(
        results["engine"]["encode_cpu_s"] / results["whisper_30_s"]["encode_cpu_s"], 3
    )
    results["speech_s"] = round(sum(len(clip.pcm) for clip in clips) / 16_000, 1)
    args.out.write_text(json.dumps(describe() | {"model": args.model, **results}, indent=2) + "\n")
    print(f"encoder work: {results['encode_ratio']} of Whisper's own; written to {args.out}")


def load_clips(folder: Path) -> list[Clip]:
    lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    rows = [row for row in lines if row["audio"].split("/")[0] in SETS and row["seconds"] < 28]
    return [Clip(read(folder / row["audio"]), row["text"]) for row in rows]


def read(path: Path) -> Pcm:
    return np.frombuffer(b"".join(read_pcm(path)), "<i2").astype(np.float32) / 32768


def whole(backend: TimedWhisper, pcm: Pcm) -> str:
    """Whisper's own way: the clip as it is, in 30 seconds, with its fallbacks."""
    job = AsrJob(0, 0, 0, pcm, is_final=True, language="en", full_context=True)
    return decode(backend, job)


def engine(settings: EngineSettings) -> Callable[[TimedWhisper, Pcm], str]:
    """The engine's way: VAD, the slot's windows, the short context, its fallbacks."""
    vad = SileroVad(1)

    def transcribe(backend: TimedWhisper, pcm: Pcm) -> str:
        vad.reset(0)
        slot = Slot(0, 0, SessionOptions(language="en"), settings, backend.decode)
        slot.put(pcm)
        slot.put(End(0.0))
        lane = AsrLane(backend, lambda _: None)
        while True:
            _, end = slot.take()
            if end is None:
                probability = vad.step(slot.frame()[None], np.zeros(1, np.int64))[0]
                work = slot.heard(float(probability), 0.0, idle=False)
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


def decode(backend: TimedWhisper, job: AsrJob) -> str:
    lane = AsrLane(backend, lambda _: None)
    heard = lane.turn([Submit(job)])
    while not heard:
        heard = lane.turn([])
    return heard[0].hypothesis.text


def wer(clips: Sequence[Clip], heard: Sequence[str]) -> float:
    normal = EnglishTextNormalizer()
    said = [normal(clip.text) for clip in clips]
    return float(jiwer.wer(said, [normal(text) or "-" for text in heard]))


if __name__ == "__main__":
    main()
