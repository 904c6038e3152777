"""Where the server's time goes at capacity, and how late its event loop was."""

from __future__ import annotations

from typing import Any

from benchmarks.page_parts import NOT_MEASURED, Result, markdown_table, measured_at

_LINES = 4
_BYTES_PER_S = 32_000  # PCM of 16 bits at 16 kHz
_VAD_FRAMES_PER_S = 31.25
_MEL_FRAMES_PER_S = 100


def section(result: Result | None) -> str:
    run = (result or {"runs": [{}]})["runs"][-1]
    profile = run.get("profile")
    if result is None or not profile or "threads" not in profile:
        return NOT_MEASURED
    rows = [
        [one["name"], f"{one['cores']:.2f}", "; ".join(map(_seen, one["lines"][:_LINES])) or "—"]
        for one in profile["threads"]
        if one["cores"] >= 0.005
    ]
    head = ["thread", "cores", "lines of Python that it was seen in most (share of its samples)"]
    said = (
        f"At {run['load']['sessions']} sessions, {profile['samples']:,} samples of running Python "
        f"threads at {profile['rate_hz']} Hz. `MainThread` is the event loop's. What a line costs "
        "includes the native code that it calls."
    )
    parts = [said, markdown_table(head, rows), *_event_loop(run), *_once(run), measured_at(result)]
    return "\n\n".join(parts)


def _seen(one: dict[str, Any]) -> str:
    return f"`{one['where']}` {100 * one['share']:.0f} %"


def _event_loop(run: dict[str, Any]) -> list[str]:
    loop = (run.get("metrics") or {}).get("event_loop")
    if not loop:
        return []
    return [
        f"A timer on the event loop tells how long it was held up: of "
        f"{loop['timers']:,.0f} timers **{loop['over_20_ms']:.0f} rang more than 20 ms late**; "
        f"99 % were late by less than {loop['p99_under_ms']:g} ms, and the latest by less than "
        f"{loop['latest_under_ms']:g} ms."
    ]


def _once(run: dict[str, Any]) -> list[str]:
    """Whether anything that depends on the audio alone was computed twice."""
    metrics = run.get("metrics") or {}
    if run["load"]["encoding"] != "pcm" or not metrics.get("mel_frames"):
        return []
    heard_s = metrics["audio_bytes"] / _BYTES_PER_S
    vad = metrics["batch_rows"]["vad"] / _VAD_FRAMES_PER_S / heard_s
    mel = metrics["mel_frames"] / _MEL_FRAMES_PER_S / heard_s
    return [
        f"Of {heard_s:,.0f} s of audio VAD's frames were computed {vad:.2f} times and mel frames "
        f"{mel:.2f} times (1 is each of them once; mel frames of silence are not needed). For "
        f"{metrics['stages']['segment_to_transcript']['count']:.0f} final texts the encoder ran "
        f"{metrics['batch_rows']['asr']:.0f} times: partial transcripts and guesses at pauses are "
        "among them, and each hears the whole window anew, since Whisper's encoder looks both ways."
    ]
