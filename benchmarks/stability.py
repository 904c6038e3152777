"""Which rule settles words earlier, and which is wrong less often.

    ANTIPHON_SPEECH=... python -m benchmarks.stability --help

Sentences are heard in pieces, as a speaker would say them, without forcing anything. For each
rule, a word's delay is from its end in the recording (by alignment of the final text) to the end
of the first hypothesis that settles it; a settled word that the final text does not have at its
place is an error. ``engine`` is what the engine does (engine/asr/agreement.py); ``likely``: only up
to the first token that the model gives less than one half; ``either``: agreement of two, or
attention with 0.8 s.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import torch

from benchmarks.load import results
from benchmarks.whisper import SAMPLE_RATE, Report, utterances
from engine.asr.agreement import LocalAgreement
from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.words import words_of
from engine.models import resolve
from engine.types import Pcm
from engine.whisper import backend as torch_backend
from engine.whisper.alignment import settled_tokens
from engine.whisper.backend import TorchWhisper
from server.sources import load

TAILS_S = (0.5, 0.8)
LIKELY = math.log(0.5)
RULES = (
    "engine",
    *("agreement_of_2", "agreement_of_4", "agreement_of_2_likely"),
    *("attention_0.5_s", "attention_0.8_s", "attention_0.8_s_likely", "either"),
)


@dataclass
class Tally:
    """What one rule did, over all sentences."""

    delays_s: list[float] = field(default_factory=list)
    settled: int = 0
    wrong: int = 0

    def report(self) -> Report:
        delays = sorted(self.delays_s)
        return {
            "words_settled_before_the_end": self.settled,
            "wrong": self.wrong,
            "delay_p50_s": round(statistics.median(delays), 2),
            "delay_p90_s": round(delays[int(0.9 * len(delays))], 2),
        }


class Listener:
    """One model that tells what it would settle under every rule."""

    def __init__(self, folder: Path) -> None:
        self.backend = TorchWhisper(folder, threads=1, slots=2)
        self.settled: dict[float, int] = {}
        torch_backend._settled = self._watch

    def _watch(self, attention: torch.Tensor, seconds: float) -> int:
        text = attention[:, :-1]
        self.settled = {tail: settled_tokens(text, seconds, tail) for tail in TAILS_S}
        return self.settled[0.5]

    def hear(self, key: int, pcm: Pcm, *, final: bool) -> Hypothesis:
        self.backend.submit([AsrJob(key, 0, 0, pcm, final, language="en", align=True)])
        heard: list[Hypothesis] = []
        while self.backend.active:
            heard += self.backend.step()
        return heard[0]


def common(heard: list[tuple[int, ...]], last: int) -> int:
    """How many tokens the ``last`` hypotheses begin with in common."""
    if len(heard) < last:
        return 0
    together = zip(*heard[-last:], strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, together))


def whole_words(tokens: tuple[int, ...], count: int, decode: Callable[..., str]) -> list[str]:
    """The words of the first ``count`` tokens, less one that the next token goes on with."""
    while count and count < len(tokens) and not decode(tokens[count : count + 1]).startswith(" "):
        count -= 1
    return decode(tokens[:count]).split()


def listen(listener: Listener, key: int, pcm: Pcm, every_s: float, tallies: Report) -> None:
    """Hear one sentence to its end and add to each rule's tally."""
    decode = listener.backend.decode
    heard: list[tuple[int, ...]] = []
    agreement = LocalAgreement(decode)
    known: dict[str, list[tuple[float, list[str]]]] = {name: [] for name in tallies}
    step = int(every_s * SAMPLE_RATE)
    for end in range(step, len(pcm), step):
        hypothesis = listener.hear(key, pcm[:end], final=False)
        tokens = hypothesis.tokens
        heard.append(tokens)
        two, four = common(heard, 2), common(heard, 4)
        likely = sum(1 for _ in takewhile(lambda p: p > LIKELY, hypothesis.token_logprobs))
        # nothing is forced here: what contradicts the settled words leaves them as they are
        if tokens[: len(agreement.settled)] == agreement.settled:
            agreement.update(tokens, end / SAMPLE_RATE, hypothesis.token_logprobs)
        known["engine"].append((end / SAMPLE_RATE, decode(agreement.settled).split()))
        counts = {"agreement_of_2": two, "agreement_of_4": four}
        counts["agreement_of_2_likely"] = min(two, likely)
        counts |= {f"attention_{tail}_s": count for tail, count in listener.settled.items()}
        counts["attention_0.8_s_likely"] = min(counts["attention_0.8_s"], likely)
        counts["either"] = max(two, counts["attention_0.8_s"])
        for name, count in counts.items():
            known[name].append((end / SAMPLE_RATE, whole_words(tokens, count, decode)))
    final = listener.hear(key, pcm, final=True)
    words = words_of(final.tokens, final.token_times, decode)
    for name, tally in tallies.items():
        for index, word in enumerate(words):
            seen = [(at, w) for at, w in known[name] if len(w) > index]
            at_s = seen[0][0] if seen else len(pcm) / SAMPLE_RATE
            tally.delays_s.append(at_s - word.end_s)
            tally.settled += bool(seen)
            tally.wrong += bool(seen) and _bare(seen[0][1][index]) != _bare(word.text)


def _bare(word: str) -> str:
    """Case and punctuation may change: neither is worth waiting for."""
    return re.sub(r"\W", "", word).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base", help="name or folder (default: base)")
    parser.add_argument("--clips", type=int, default=12, help="sentences (default: 12)")
    parser.add_argument("--every", type=float, default=0.6, help="seconds (default: 0.6)")
    parser.add_argument("--out", type=Path, default=results.RESULTS / "stability.json")
    args = parser.parse_args()
    folder = resolve(args.model, "asr", load({}, os.environ).home)
    listener = Listener(folder)
    tallies = {name: Tally() for name in RULES}
    clips = utterances(Path(os.environ["ANTIPHON_SPEECH"]), 4, 14, args.clips)
    for key, pcm in enumerate(clips):
        listen(listener, key, pcm, args.every, tallies)
    settings = {"model": folder.name, "clips": len(clips), "every_s": args.every}
    report = results.head("stability", settings)
    report["rules"] = {name: tally.report() for name, tally in tallies.items()}
    results.write(report, args.out)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
