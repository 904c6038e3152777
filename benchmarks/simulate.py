"""More speakers than this machine can be given: the real scheduler, simulated arrivals.

    python -m benchmarks.simulate LOAD.json OUTPUT.json

The scheduler that serves is fed on a simulated clock with speakers who never pause, and a model
whose price for a segment is the mean of a measured run. What it leaves out: whatever is not
Whisper, and that a segment's price depends on its length.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arrivals import Arrivals
from benchmarks.load import results
from benchmarks.load.run import clips_for
from engine.asr.backend import AsrJob
from engine.asr.scheduler import AsrScheduler
from engine.config import EngineSettings

SPEAKERS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 128, 256)
_DURATION_S = 120.0
_HOPELESS_S = 60.0
"""Where finals wait so long, more speakers tell nothing new."""
_BATCH = 1
"""A CPU encodes row by row: a batch would only make others wait."""
_STAGES = ("asr_encode", "asr_decode")


def serve(jobs: Sequence[AsrJob], price_s: float, batch: int) -> dict[str, float]:
    """Percentiles of the finals' waits, and how many partials were decoded after all."""
    scheduler, now_s, waits, partials, busy_s = AsrScheduler(), 0.0, [], 0, 0.0
    coming = [(job.queued_at, index, job) for index, job in enumerate(jobs)]
    heapq.heapify(coming)
    while coming or len(scheduler):
        while coming and coming[0][0] <= now_s:
            scheduler.add(heapq.heappop(coming)[2])
        taken = scheduler.next_batch(lambda _: batch)
        if not taken:
            now_s = coming[0][0]
            continue
        now_s += price_s * len(taken)
        busy_s += price_s * len(taken)
        waits += [now_s - job.queued_at for job in taken if job.is_final]
        partials += sum(not job.is_final for job in taken)
    last_s = jobs[-1].queued_at
    return {
        "final_p50_s": float(np.percentile(waits, 50)),
        "final_p95_s": float(np.percentile(waits, 95)),
        "finals": len(waits),
        "partials": partials,
        "busy": busy_s / max(now_s, last_s),
    }


def price(run: dict[str, Any]) -> float:
    """Seconds of the speech model for one segment, on average, in a measured run: of encoder or
    decoder, which work side by side, whichever took longer."""
    metrics = run["metrics"]
    total_s = max(metrics["stages"][stage]["total_s"] for stage in _STAGES)
    return float(total_s / metrics["batch_rows"]["asr"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("load", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    measured = results.read(args.load)
    if measured is None:
        print(f"{args.load} is not there: measure first", file=sys.stderr)
        return 2
    run = max(measured["runs"], key=lambda one: one["load"]["sessions"] * one["carried"])
    settings = EngineSettings.model_validate({})
    lengths = [clip.seconds for clip in clips_for("continuous")]
    told = {"price_s": price(run), "price_from_sessions": run["load"]["sessions"]}
    result = results.start("simulation", told | {"duration_s": _DURATION_S})
    for speakers in SPEAKERS:
        jobs = Arrivals(speakers, lengths, settings.partial_interval_s).jobs(_DURATION_S)
        served = serve(jobs, price(run), _BATCH)
        speech_s = speakers * _DURATION_S
        result["runs"].append({"sessions": speakers, **served,
                               "partials_per_s": served["partials"] / speech_s})  # fmt: skip
        print(result["runs"][-1])
        if served["final_p95_s"] > _HOPELESS_S:
            break
    results.write(result, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
