"""Ten minutes of speech without a pause in one segment: is anything lost, or said twice?

Clips of the speech corpus are trimmed by VAD and joined, so that no silence ends a window and every
window is cut in the middle of speech. The transcript is aligned with the references; a run of
words that is missing, or that nobody said, would show a cut that lost or repeated something.

    ANTIPHON_SPEECH=../shared/speech python -m benchmarks.long_speech --asr torch
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import time
from itertools import cycle
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jiwer
import numpy as np
from whisper_normalizer.english import EnglishTextNormalizer

from benchmarks.context import Clip, load_clips
from benchmarks.load import results
from engine.config import EngineSettings
from engine.engine import Engine
from engine.types import SAMPLE_RATE, AudioConsumed, Event, Failure, Pcm, SessionOptions, Transcript


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--asr", default="torch", choices=["torch", "ctranslate2"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=results.RESULTS / "long_speech.json")
    args = parser.parse_args()
    clips = load_clips(Path(os.environ["ANTIPHON_SPEECH"]))
    pcm, said = join(clips, args.minutes * 60)
    settings = EngineSettings(asr=args.asr, llm="echo")
    heard, took_s = transcribe(settings, pcm)
    known = {"asr": args.asr, "speech_s": round(len(pcm) / SAMPLE_RATE, 1)}
    result = results.head("long_speech", known)
    result |= {"transcribed_in_s": round(took_s, 1)} | compare(said, heard)
    print(json.dumps(result, indent=2))
    results.write(result, args.out)


def join(clips: list[Clip], seconds: float) -> tuple[Pcm, str]:
    """Clips without the silence around them, one after another until there is enough, from the
    first again where they are too few; and what is said in them."""
    spoken: list[Pcm] = []
    texts: list[str] = []
    for clip in cycle(clips):
        loud = np.flatnonzero(np.abs(clip.pcm) > 0.02 * np.abs(clip.pcm).max())
        spoken.append(clip.pcm[max(0, loud[0] - 800) : loud[-1] + 800])
        texts.append(clip.text)
        if sum(map(len, spoken)) > seconds * SAMPLE_RATE:
            break
    return np.concatenate(spoken), " ".join(texts)


def transcribe(settings: EngineSettings, pcm: Pcm) -> tuple[str, float]:
    """The transcript of one segment, sent as fast as the engine takes it."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    engine = Engine(settings, lambda batch: [events.put(event) for event in batch])
    engine.start()
    began = time.monotonic()
    key, out, sent = engine.open(SessionOptions(language="en")), 0, 0
    while True:
        while sent < len(pcm) and out < settings.max_buffered_s * SAMPLE_RATE:
            piece = pcm[sent : sent + SAMPLE_RATE]
            engine.feed(key, piece)
            sent, out = sent + len(piece), out + len(piece)
            if sent >= len(pcm):
                engine.end_segment(key)
        event = events.get(timeout=120)
        if isinstance(event, AudioConsumed):
            out -= event.samples
        if isinstance(event, Failure):
            raise RuntimeError(event.message)
        if isinstance(event, Transcript) and event.is_final:
            engine.close()
            return event.text, time.monotonic() - began


def compare(said: str, heard: str) -> dict[str, float | int | list[str]]:
    normal = EnglishTextNormalizer()
    result = jiwer.process_words(normal(said), normal(heard))
    reference, hypothesis = result.references[0], result.hypotheses[0]
    runs = {"delete": "lost", "insert": "added"}
    found = [
        f"{runs[part.type]}: "
        + " ".join(
            reference[part.ref_start_idx : part.ref_end_idx]
            or hypothesis[part.hyp_start_idx : part.hyp_end_idx]
        )
        for part in result.alignments[0]
        if part.type in runs
        and max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx) >= 3
    ]
    return {
        "words": len(reference),
        "wer_percent": round(100 * result.wer, 2),
        "runs_of_three_words_or_more": found,
    }


if __name__ == "__main__":
    main()
