"""The first token after the final transcript, by what of its prompt the model knows already.

    python -m benchmarks.first_token

The second turn of a conversation, asked of the embedded language model through the engine's lane,
with nothing in the cache (which is how the same model is called without a warm prefix), with the
system prompt, with the history, and with the history when the reply was anticipated ``--lead-s``
before it was asked for, as it is between a pause and the end that VAD declares after it. The cases
take turns, so that whatever else the machine does touches all of them.
"""

from __future__ import annotations

import argparse
import json
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import REGISTRY

from benchmarks.machine import describe
from engine.config import EngineSettings
from engine.llm.llamacpp import LlamaCpp
from engine.llm_lane import LlmLane
from engine.models import resolve
from engine.types import Event, GenerateRequest, Message, ResponseDelta

CASES = ("nothing", "system", "history", "early")
HISTORY = (
    Message("user", "I am planning a walk along the coast this weekend and need some advice."),
    Message("assistant", "How nice! Take a rain coat, good shoes, and enough water with you."),
)
PATIENCE_S = 60


class FirstToken:
    """Asks for replies of one token; each case is a session, and keeps a slot of the model."""

    def __init__(self, settings: EngineSettings, model: Path) -> None:
        self._system = settings.system
        self._turns = 0
        self._came = threading.Event()
        self.lane = LlmLane(lambda wake: LlamaCpp(settings, model, wake), settings, self._deliver)
        self.lane.begin()
        self.lane.wait_ready()

    def request(self, case: str) -> GenerateRequest:
        """The second turn of a conversation of which ``case`` is in the cache."""
        new = secrets.token_hex(4)  # what follows it cannot be in the cache
        system = new + self._system if case == "nothing" else self._system
        before = "" if case in ("history", "early") else new
        messages = (
            Message("system", system),
            Message("user", before + HISTORY[0].content),
            HISTORY[1],
            Message("user", new + " What else should I think of before I go?"),
        )
        self._turns += 1
        return GenerateRequest(CASES.index(case), self._turns, messages, max_tokens=1)

    def ask(self, request: GenerateRequest) -> None:
        """Returns when the first token, which is the last, has come."""
        self._came.clear()
        self.lane.submit(request)
        assert self._came.wait(PATIENCE_S)

    def time_ms(self, case: str, lead_s: float) -> float:
        request = self.request(case)
        if case == "early":
            self.lane.anticipate(request)
            time.sleep(lead_s)
        began = time.perf_counter()
        self.ask(request)
        return 1e3 * (time.perf_counter() - began)

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            assert isinstance(event, ResponseDelta), event
            if event.finish_reason is not None:
                self._came.set()


def tokens_so_far(kind: str) -> float:
    return REGISTRY.get_sample_value("antiphon_llm_tokens_total", {"kind": kind}) or 0.0


def measure(asking: FirstToken, rounds: int, lead_s: float) -> list[dict[str, Any]]:
    """A row for each case; the first round only fills the caches."""
    times: dict[str, list[float]] = {case: [] for case in CASES}
    tokens: dict[str, dict[str, float]] = {case: {"cached": 0, "prompt": 0} for case in CASES}
    for number in range(rounds + 1):
        for case in CASES:
            before = {kind: tokens_so_far(kind) for kind in tokens[case]}
            time_ms = asking.time_ms(case, lead_s)
            if number:
                times[case].append(time_ms)
                for kind, count in before.items():
                    tokens[case][kind] += (tokens_so_far(kind) - count) / rounds
    cold_ms = float(np.median(times["nothing"]))
    return [
        {
            "cached": case,
            "cached_tokens": round(tokens[case]["cached"], 1),
            "computed_tokens": round(tokens[case]["prompt"], 1),
            "first_token_ms": _spread(times[case]),
            "ratio_to_cold": round(float(np.median(times[case])) / cold_ms, 4),
        }
        for case in CASES
    ]


def _spread(values: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(values, (50, 95))
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "max": round(max(values), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--lead-s", type=float, default=0.3, help="default: 0.3")
    parser.add_argument("--shared", action="store_true", help="others used the machine meanwhile")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/first_token.json"))
    args = parser.parse_args()
    head = {"machine": describe(), "shared_machine": args.shared}
    settings = EngineSettings()
    asking = FirstToken(settings, resolve(settings.llm_model, "llm", settings.home))
    rows = measure(asking, args.rounds, args.lead_s)
    asking.lane.close()
    head |= {"llm": asking.lane.name, "rounds": args.rounds, "lead_s": args.lead_s}
    args.out.write_text(json.dumps(head | {"rows": rows}, indent=2) + "\n")
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
