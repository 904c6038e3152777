"""What the engine's savings cost in words, and what they save in work, on the speech corpus.

With CTranslate2 every English clip of the corpus is transcribed twice by the same model: as Whisper
would, with 30 seconds of context and all its silence; and as the engine does, trimmed by VAD, with
the shortest context that is safe. With torch the first is in float32, and the second has every
saving on: bfloat16 where the processor has it, partials as drafts, settled words forced, guesses
at pauses that stand for finals. Prints and writes word error rates and the processor time of the
encoder, or of everything.

Which of two likely words a model takes can hang on a rounding: with as many words as here, that
alone moves a word error rate by half a point. So every clip is heard several times, at other speeds
(speed perturbation; Ko et al., "Audio Augmentation for Speech Recognition", Interspeech 2015), and
the standard error of each difference is told. Hearings are spread over the processor's cores, each
on a thread of its own.

    ANTIPHON_SPEECH=../shared/speech python -m benchmarks.context --asr torch
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
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
from engine.asr_lane import AsrLane
from engine.config import EngineSettings
from engine.frames import End
from engine.models import resolve
from engine.slot import Slot
from engine.types import SAMPLE_RATE, Pcm, SessionOptions, Transcript
from engine.vad.silero import SileroVad
from engine.whisper.backend import TorchWhisper
from engine.work import Submit
from server.audio_file import read_pcm

Hearing = tuple[list[int], float]
"""Wrong words of each clip, and seconds of processor time."""
ROWS = {
    "ctranslate2": ("whisper_30_s", "engine"),
    "torch": ("whisper_30_s_float32", "engine", "engine_streamed"),
}
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

    def spent_s(self) -> float:
        return self.encode_s


@dataclass
class Clip:
    pcm: Pcm
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base", help="Whisper model (default: base)")
    parser.add_argument("--asr", default="ctranslate2", choices=["ctranslate2", "torch"])
    parser.add_argument(
        "--speeds",
        type=lambda text: [float(speed) for speed in text.split(",")],
        default=[0.9, 0.95, 1.0, 1.05, 1.1],
        help="one hearing for each (default: 0.9,0.95,1,1.05,1.1)",
    )
    parser.add_argument("--out", type=Path, help="(default: benchmarks/results/context-ASR.json)")
    args = parser.parse_args()
    out = args.out or results.RESULTS / f"context-{args.asr}.json"
    speech = Path(os.environ["ANTIPHON_SPEECH"])
    clips = load_clips(speech)
    told = {
        "model": args.model,
        "asr": args.asr,
        "speech_s": round(sum(len(c.pcm) for c in clips) / SAMPLE_RATE, 1),
        "speeds": args.speeds,
    }
    report = results.head("context", told) | {"rows": {}}
    spent = "encode_cpu_s" if args.asr == "ctranslate2" else "cpu_s"
    reference: list[int] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), spawn) as pool:
        for name in ROWS[args.asr]:
            one = partial(hear, args.asr, name, args.model, speech)
            heard = list(track(pool.map(one, args.speeds), name, len(args.speeds)))
            errors = [wrong for hearing, _ in heard for wrong in hearing]
            reference = reference or errors
            report["rows"][name] = word_errors(errors, reference, words(clips), len(clips)) | {
                spent: round(sum(cpu_s for _, cpu_s in heard) / len(heard), 2),
            }
            print(name, report["rows"][name])
            results.write(report, out)
    print(f"written to {out}")


def hear(asr: str, name: str, model: str, speech: Path, speed: float) -> Hearing:
    """All clips in one way, at one speed, in a process of its own."""
    settings = EngineSettings()
    folder = resolve(model, "asr", settings.home)
    clips = load_clips(speech)
    backend: AsrBackend
    cpu_s: Callable[[], float] = time.process_time
    if asr == "ctranslate2":
        backend = timed = TimedWhisper(folder, threads=1)
        cpu_s = timed.spent_s
    else:
        exact = name == "whisper_30_s_float32"
        backend = TorchWhisper(folder, compute_type="float32" if exact else "auto", threads=1)
    backend.warmup()
    if name == "engine":
        transcribe = engine(backend, settings)
    elif name == "engine_streamed":
        transcribe = engine(backend, settings, streamed=True)
    else:
        transcribe = partial(whole, backend)
    before = cpu_s()
    heard = [transcribe(at_speed(clip.pcm, speed)) for clip in clips]
    pairs = zip(clips, heard, strict=True)
    return [wrong_words(clip.text, text) for clip, text in pairs], cpu_s() - before


def at_speed(pcm: Pcm, speed: float) -> Pcm:
    """``pcm`` so much faster, and higher, resampled without loss below the new Nyquist rate."""
    samples = round(len(pcm) / speed)
    if samples == len(pcm):
        return pcm
    resampled = np.fft.irfft(np.fft.rfft(pcm), samples) * (samples / len(pcm))
    return resampled.astype(np.float32)


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
        slot.put(End())
        lane = AsrLane(backend, lambda _: None)
        while True:
            _, end = slot.take()
            if end is None:
                probability = vad.step(slot.frame()[None], np.zeros(1, np.int64))[0]
                work = slot.heard(float(probability), 0.0, idle=streamed)
            else:
                work = slot.end(0.0)
            while work.submitted is not None:
                commands = [Submit(work.submitted)]
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
