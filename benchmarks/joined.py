"""Several sentences in one segment, with pauses between them: which of them are lost?

Clips of the speech corpus are joined with silence: a sentence repeated three and five times, two
sentences of one language, two sentences of two languages in both orders; beside them each clip
alone, which must cost no more and be heard no worse. Every case is heard in one client-ended
segment, with and without partials, on a machine that is always fast enough: each job is answered
before more audio is heard. ``lost`` are words that the transcript lacks (deletions); ``middles``
are parts in the middle of a window that were decoded again.

    ANTIPHON_SPEECH=../shared/speech python -m benchmarks.joined --asr torch
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jiwer
import numpy as np
from rich.progress import track

from benchmarks.context import read
from benchmarks.load import results
from benchmarks.load.words import normalise
from engine.asr.backend import AsrBackend, AsrJob
from engine.asr.ct2 import CTranslate2Whisper
from engine.asr.guards import context_s
from engine.asr_lane import AsrLane
from engine.config import EngineSettings
from engine.frames import End
from engine.models import resolve
from engine.slot import Slot
from engine.types import SAMPLE_RATE, Pcm, SessionOptions, Transcript
from engine.vad.silero import SileroVad
from engine.whisper.backend import TorchWhisper
from engine.work import Work

REPEATED = (
    "questions/whatstheweatherlike",
    "questions/turn_on_the_living_room_lamp",
    "questions/en-accent-13",
    "questions/en-accent-17",
    "questions/librivox_sense_0930",
    "librispeech/1688-142285-0002",
)
FOREIGN = (
    "multilingual/fleurs-de-004",
    "multilingual/fleurs-es-006",
    "multilingual/fleurs-fr-006",
    "multilingual/cheetah_test_de_norm",
    "multilingual/leopard_test_fr",
    "multilingual/leopard_test_pt",
)
TIMES = (3, 5)
PARTIALS = {"both": (False, True), "no": (False,), "yes": (True,)}
PAUSES_S = (0.5, 1.0, 2.0)
ALONE = ("librispeech", "ljspeech", "questions", "multilingual")


@dataclass(frozen=True, slots=True)
class Clip:
    pcm: Pcm
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Case:
    """One segment: ``said`` is its reference, normalised."""

    group: str
    name: str
    pcm: Pcm
    said: str


@dataclass(slots=True)
class Tally:
    """What came of the cases of one group."""

    cases: int = 0
    words: int = 0
    wrong: int = 0
    lost: int = 0
    speech_s: float = 0.0
    jobs: int = 0
    encoded_s: float = 0.0
    middles: int = 0
    failures: list[str] = field(default_factory=list)

    def report(self) -> dict[str, object]:
        return {
            "cases": self.cases,
            "words": self.words,
            "wer_percent": round(100 * self.wrong / self.words, 2),
            "lost_percent": round(100 * self.lost / self.words, 2),
            "jobs_per_s": round(self.jobs / self.speech_s, 3),
            "encoded_s_per_s": round(self.encoded_s / self.speech_s, 3),
            "middles": self.middles,
            "cases_that_lost_a_quarter": self.failures,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="Whisper model (default: base)")
    parser.add_argument("--asr", default="torch", choices=["torch", "ctranslate2"])
    parser.add_argument("--groups", default="", help="only groups that begin so, with | between")
    parser.add_argument("--partials", default="both", choices=["both", "no", "yes"])
    parser.add_argument("--every", type=int, default=1, help="only every Nth case of a group")
    parser.add_argument("--add", action="store_true", help="keep the other groups in the result")
    parser.add_argument("--before", type=Path, help="result of an earlier version, to set beside")
    parser.add_argument("--out", type=Path, default=results.RESULTS / "joined.json")
    args = parser.parse_args()
    folder = resolve(args.model, "asr", EngineSettings().home)
    make = TorchWhisper if args.asr == "torch" else CTranslate2Whisper
    listener = Listener(make(folder))
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in every_case(Path(os.environ["ANTIPHON_SPEECH"])):
        if case.group.startswith(tuple(args.groups.split("|"))):
            groups[case.group].append(case)
    cases = [case for group in groups.values() for case in group[:: args.every]]
    tallies: dict[str, Tally] = defaultdict(Tally)
    for case in track(cases, "joined", len(cases)):
        for partials in PARTIALS[args.partials]:
            name = f"{case.group}{', partials' if partials else ''}"
            (final,) = listener.hear(case.pcm, options=SessionOptions(partials=partials))
            add(tallies[name], case, final.text, listener)
    report = results.head("joined", {"model": args.model, "asr": args.asr})
    known = results.read(args.out) if args.add else None
    found = {name: tally.report() for name, tally in tallies.items()}
    report["groups"] = dict(sorted({**(known or {"groups": {}})["groups"], **found}.items()))
    if args.before and (earlier := results.read(args.before)):
        report["before"] = earlier["groups"]
    results.write(report, args.out)
    print(json.dumps(report["groups"], indent=1))


def every_case(speech: Path) -> Iterator[Case]:
    clips = load_clips(speech)
    for pause_s in PAUSES_S:
        for name in REPEATED:
            for times in TIMES:
                group = f"repeated, {pause_s:g} s"
                yield joined(group, f"{name} x{times}", [clips[name]] * times, pause_s)
        for one, other in zip(REPEATED, (*REPEATED[1:], REPEATED[0]), strict=True):
            group = f"one language, {pause_s:g} s"
            yield joined(group, f"{one} + {other}", [clips[one], clips[other]], pause_s)
        for one, other in zip(REPEATED, FOREIGN, strict=True):
            for pair in ((one, other), (other, one)):
                group = f"two languages, {pause_s:g} s"
                yield joined(group, " + ".join(pair), [clips[name] for name in pair], pause_s)
    for name, clip in clips.items():
        if len(clip.pcm) < 28 * SAMPLE_RATE:
            group = "alone, English" if clip.language == "en" else "alone, other languages"
            yield joined(group, name, [clip], 0)


def load_clips(speech: Path) -> dict[str, Clip]:
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    return {
        row["audio"].removesuffix(".flac"): Clip(
            read(speech / row["audio"]), row["text"], row["lang"]
        )
        for row in lines
        if row["audio"].startswith(ALONE)
    }


def joined(group: str, name: str, clips: Sequence[Clip], pause_s: float) -> Case:
    """``clips`` in one piece of audio, each pair with a pause of so many seconds between."""
    pause = np.zeros(round(pause_s * SAMPLE_RATE), np.float32)
    pieces = [piece for clip in clips for piece in (pause, clip.pcm)][1:]
    languages = {clip.language for clip in clips}
    language = languages.pop() if len(languages) == 1 else "de"  # any but English: plain rules
    said = " ".join(normalise(clip.text, language) for clip in clips)
    return Case(group, name, np.concatenate(pieces), f"{language}|{said}")


class Listener:
    """The engine's hearing without its threads; keeps the jobs that were decoded."""

    def __init__(self, backend: AsrBackend) -> None:
        self._backend = backend
        self._vad = SileroVad(1)
        self._keys = count()
        self.jobs: list[AsrJob] = []
        self.middles = 0

    def hear(
        self, *segments: Pcm, options: SessionOptions | None = None, idle: bool = True
    ) -> list[Transcript]:
        """The transcripts of one session's segments. ``idle``: nobody else waits, so that it
        guesses in pauses."""
        self._vad.reset(0)
        self.jobs, self.middles = [], 0
        settings = EngineSettings()
        slot = Slot(
            next(self._keys), 0, options or SessionOptions(), settings, self._backend.decode
        )
        for pcm in segments:
            slot.put(pcm)
            slot.put(End())
        lane = AsrLane(self._backend, lambda _: None)
        finals: list[Transcript] = []
        while len(finals) < len(segments):
            _, end = slot.take()
            if end is None:
                probability = self._vad.step(slot.frame()[None], np.zeros(1, np.int64))[0]
                work = slot.heard(float(probability), 0.0, idle=idle)
            else:
                work = slot.end(0.0)
            finals += self._answer(slot, work, lane)
        return finals

    def _answer(self, slot: Slot, work: Work, lane: AsrLane) -> Iterator[Transcript]:
        """Decode what the slot asks for, at once; the final transcripts that come of it."""
        while True:
            for event in work.events:
                if isinstance(event, Transcript) and event.is_final:
                    yield event
            job = work.submitted
            if job is None:
                return
            self.jobs.append(job)
            self.middles += bool(slot._closed and slot._closed[0].instead)
            orders = work.orders
            while not (heard := lane.turn(orders)):
                orders = []
            work = slot.answer(heard[0].hypothesis, heard[0].verdict, 0.0)


def add(tally: Tally, case: Case, text: str, listener: Listener) -> None:
    language, said = case.said.split("|")
    heard = normalise(text, language)
    counts = jiwer.process_words(said, heard or "-")
    words = len(said.split())
    tally.cases += 1
    tally.words += words
    tally.wrong += counts.substitutions + counts.insertions + counts.deletions
    tally.lost += counts.deletions
    tally.speech_s += len(case.pcm) / SAMPLE_RATE
    jobs = listener.jobs
    tally.jobs += len(jobs)
    tally.middles += listener.middles
    tally.encoded_s += sum(context_s(job.seconds, job.full_context) for job in jobs)
    if 4 * counts.deletions >= words:
        tally.failures.append(case.name)


if __name__ == "__main__":
    main()
