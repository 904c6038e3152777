"""What Whisper costs in torch, beside CTranslate2 and faster-whisper on the same machine.

    ANTIPHON_SPEECH=... python -m benchmarks.whisper --help

Figures are processor time of the whole process (all threads), the least of several tries, so that
other work on the machine disturbs them little; the ratios are what to read. Both sides run on
``--threads`` threads of one processor; CTranslate2 in int8, torch in its best type there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import ctranslate2
import numpy as np
import torch
from faster_whisper import WhisperModel as FasterWhisper

from benchmarks.load import results
from engine.asr.backend import AsrJob, Hypothesis
from engine.models import resolve
from engine.types import Pcm
from engine.whisper.backend import TorchWhisper
from engine.whisper.features import features, hear
from engine.whisper.model import WhisperModel
from engine.whisper.row import RowRequest, RowResult
from server.sources import load

SAMPLE_RATE = 16_000
Report = dict[str, Any]


def least_ms(work: Callable[[], object], tries: int) -> float:
    """The least processor time of ``tries``, after one that does not count."""
    work()
    spent = []
    for _ in range(tries):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return round(min(spent) * 1e3, 2)


def read(path: Path) -> Pcm:
    """A mono 16 kHz recording as float32."""
    with av.open(str(path)) as file:
        samples = np.concatenate([f.to_ndarray() for f in file.decode(audio=0)], axis=1)[0]
    scale = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max + 1
    return (samples / scale).astype(np.float32)


def utterances(speech: Path, least_s: float, most_s: float, count: int) -> list[Pcm]:
    """Read English sentences of a length, spread over the corpus."""
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    names = [
        line["audio"]
        for line in lines
        if line["audio"].startswith(("librispeech", "ljspeech"))
        and least_s <= line["seconds"] <= most_s
    ]
    return [read(speech / name) for name in names[:: max(1, len(names) // count)][:count]]


def oracle_input(mel: torch.Tensor) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.mT.numpy()))


def matrix_peak_gflops(dtype: torch.dtype) -> float:
    """What a product of 1024-square matrices reaches."""
    a, b = torch.randn(2, 1024, 1024).to(dtype)
    return 2 * 1024**3 / (least_ms(lambda: a @ b, 30) * 1e6)


def encoder_flops(model: WhisperModel, frames: int) -> float:
    """Multiplications and additions of one segment."""
    spec, n = model.spec, frames // 2
    convolutions = 2 * 3 * (frames * spec.n_mels + n * spec.width) * spec.width
    layer = 2 * n * 12 * spec.width**2 + 4 * n**2 * spec.width
    return float(convolutions + spec.encoder_layers * layer)


def encode_figures(model: WhisperModel, oracle: Any, pcm: Pcm) -> Iterator[Report]:
    """Encoding one segment, for each context length in use."""
    peak = matrix_peak_gflops(model.dtype)
    for seconds in (12, 15, 18, 21, 30):
        mel = features(hear(pcm[: (seconds - 4) * SAMPLE_RATE], 80), seconds * 100)[None]
        view = oracle_input(mel)
        ours = least_ms(lambda mel=mel: model.encoder(mel), 8)
        theirs = least_ms(lambda view=view: np.asarray(oracle.encode(view)), 5)
        reached = encoder_flops(model, seconds * 100) / (ours * 1e6)
        yield {
            "context_s": seconds,
            "torch_ms": ours,
            "ctranslate2_int8_ms": theirs,
            "ratio": round(ours / theirs, 3),
            "share_of_matrix_peak": round(reached / peak, 3),
        }


def step_figures(model: WhisperModel, oracle: Any, pcm: Pcm) -> Iterator[Report]:
    """One token more for each row of a batch, in 15 s of context."""
    mel = features(hear(pcm[: 11 * SAMPLE_RATE], 80), 1500)[None]
    states = model.encoder(mel)[0]
    prompt = model.tokens.opening("en")
    for rows in (1, 4, 8):
        encoded = oracle.encode(oracle_input(mel.repeat(rows, 1, 1)))

        def generate(tokens: int, encoded: Any = encoded, rows: int = rows) -> object:
            longest = len(prompt) + tokens
            return oracle.generate(encoded, [prompt] * rows, beam_size=1, max_length=longest)

        theirs = (least_ms(lambda: generate(24), 4) - least_ms(lambda: generate(4), 4)) / 20
        decoder = model.continuous()
        for _ in range(rows):
            decoder.join(RowRequest(max_tokens=200, language="en"), states)
        decoder.step()
        ours = least_ms(decoder.step, 20)
        assert len(decoder) == rows, "the text ended before the measuring did"
        yield {"rows": rows, "torch_ms": ours, "ctranslate2_int8_ms": round(theirs, 2)}


class Counted(TorchWhisper):
    """The backend, with a look at each row's work."""

    def __init__(self, folder: Path, threads: int) -> None:
        super().__init__(folder, threads=threads, slots=8)
        self.results: list[RowResult] = []

    def _finish(self, slot: int, result: RowResult) -> Hypothesis:
        self.results.append(result)
        return super()._finish(slot, result)

    def run(self, jobs: list[AsrJob]) -> list[Hypothesis]:
        """All of ``jobs``, as fast as there is room for them."""
        heard: list[Hypothesis] = []
        waiting = list(jobs)
        while waiting or self.active:
            room = self.capacity(waiting[0]) if waiting else 0
            self.submit(waiting[:room])
            del waiting[:room]
            heard += self.step()
        return heard


def job(key: int, pcm: Pcm, *, final: bool) -> AsrJob:
    return AsrJob(key, 0, 0, pcm, is_final=final, language="en")


def work_figures(folder: Path, threads: int, clips: list[Pcm]) -> Report:
    """Seconds of work for a second of speech, finals only, against ``transcribe()``."""
    seconds = sum(map(len, clips)) / SAMPLE_RATE
    backend = Counted(folder, threads)
    backend.warmup()
    keys = iter(range(10_000))

    def at_once() -> None:
        backend.run([job(next(keys), clip, final=True) for clip in clips])

    def one_by_one() -> None:
        for clip in clips:
            backend.run([job(next(keys), clip, final=True)])

    peer = FasterWhisper(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def peers() -> None:
        for clip in clips:
            list(peer.transcribe(clip, language="en", beam_size=1)[0])

    ours = {"at_once": at_once, "one_by_one": one_by_one, "faster_whisper": peers}
    work = {name: round(least_ms(f, 2) / 1e3 / seconds, 4) for name, f in ours.items()}
    return {"clips": len(clips), "speech_s": round(seconds, 1), "work_per_speech": work} | {
        f"ratio_{name}": round(work[name] / work["faster_whisper"], 3)
        for name in ("at_once", "one_by_one")
    }


def draft_figures(folder: Path, threads: int, clips: list[Pcm]) -> Report:
    """Decoder passes of a final, with a partial each second before it and without any."""
    report: Report = {"clips": len(clips)}
    texts: dict[str, list[str]] = {}
    for name in ("without", "with"):
        backend = Counted(folder, threads)
        backend.warmup()
        finals, texts[name], spent = [], [], 0.0
        for key, clip in enumerate(clips):
            for end in range(SAMPLE_RATE, len(clip) if name == "with" else 0, SAMPLE_RATE):
                backend.run([job(key, clip[:end], final=False)])
            begun = time.process_time()
            texts[name] += [h.text for h in backend.run([job(key, clip, final=True)])]
            spent += time.process_time() - begun
            finals.append(backend.results[-1])
        passes = [final.passes for final in finals]
        report[f"{name}_drafts"] = {
            "passes_median": statistics.median(passes),
            "passes_mean": round(statistics.mean(passes), 2),
            "final_ms_mean": round(spent / len(clips) * 1e3, 1),
            "drafted_tokens": sum(final.drafted for final in finals),
            "agreed_tokens": sum(final.agreed for final in finals),
        }
    report["same_text"] = sum(a == b for a, b in zip(*texts.values(), strict=True))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base", help="name or folder (default: base)")
    parser.add_argument("--threads", type=int, default=1, help="of each side (default: 1)")
    parser.add_argument("--clips", type=int, default=12, help="utterances (default: 12)")
    parser.add_argument("--out", type=Path, default=results.RESULTS / "whisper.json")
    args = parser.parse_args()
    speech = Path(os.environ["ANTIPHON_SPEECH"])
    folder = resolve(args.model, "asr", load({}, os.environ).home)
    torch.set_num_threads(args.threads)
    model = WhisperModel(folder, slots=8)
    oracle = ctranslate2.models.Whisper(
        str(folder), compute_type="int8", intra_threads=args.threads
    )
    long = utterances(speech, 14, 25, 1)[0]
    settings = {"model": folder.name, "threads": args.threads,
                "type": str(model.dtype).removeprefix("torch.")}  # fmt: skip
    report = results.head("whisper", settings)
    with torch.inference_mode():
        report["encode"] = list(encode_figures(model, oracle, np.tile(long, 2)))
        report["step"] = list(step_figures(model, oracle, long))
    report["work"] = work_figures(folder, args.threads, utterances(speech, 2, 16, args.clips))
    report["drafts"] = draft_figures(folder, args.threads, utterances(speech, 4, 9, args.clips))
    results.write(report, args.out)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
