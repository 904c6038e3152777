"""What the savings cost in words: short contexts, drafts, settled words, long speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.page_parts import NOT_MEASURED, Result, markdown_table, measured_at

_ROWS = {
    "whisper_30_s_float32": "torch float32, 30 s of context",
    "whisper_30_s": "CTranslate2 int8, 30 s of context",
    "engine": "the engine: VAD, short context, guards",
    "engine_streamed": "the engine with partials as drafts, settled words and guesses",
}

_JOINED = {
    "lost_percent": "words lost (%)",
    "wer_percent": "WER",
    "jobs_per_s": "jobs for a second of audio",
    "encoded_s_per_s": "seconds encoded for one",
}


def savings(found: Mapping[str, Result | None]) -> str:
    """``found``: results of ``benchmarks.context``, by the backend's name."""
    known = {name: result for name, result in found.items() if result is not None}
    if not known:
        return NOT_MEASURED
    rows = []
    for backend, result in known.items():
        for name, one in result["rows"].items():
            what, cpu_s = ("all", one["cpu_s"]) if "cpu_s" in one else (
                "encoder", one["encode_cpu_s"])  # fmt: skip
            rows.append([backend, _ROWS[name], f"{one['wer_percent']:.2f}", _above(one),
                         f"{cpu_s / result['settings']['speech_s']:.3f} ({what})"])  # fmt: skip
    head = [
        "Whisper in",
        "",
        "WER",
        "points above the first (standard error)",
        "processor seconds for a second of speech",
    ]
    return "\n\n".join([markdown_table(head, rows), *map(measured_at, known.values())])


def _above(one: dict[str, Any]) -> str:
    if "above_first_percent" not in one:
        return "—"
    return f"{one['above_first_percent']:+.2f} ({one['standard_error_percent']:.2f})"


def long_speech(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    runs: Sequence[str] = result["runs_of_three_words_or_more"]
    found = "; ".join(runs) or "none"
    said = (
        f"{result['settings']['speech_s']:g} s of speech without a pause in one segment "
        f"({result['settings']['asr']}): {result['words']} words, WER "
        f"{result['wer_percent']:g}. Runs of three words or more that are missing, or that nobody "
        f"said: {found}."
    )
    return f"{said}\n\n{measured_at(result)}"


def joined(result: Result | None) -> str:
    """Sentences joined with pauses, by an earlier version (where it was measured) and by this."""
    if result is None:
        return NOT_MEASURED
    earlier = result.get("before", {})
    rows = [
        [
            name,
            str(one["cases"]),
            *(_change(earlier.get(name), one, key) for key in _JOINED),
            str(one["middles"]),
        ]
        for name, one in result["groups"].items()
    ]
    head = [
        "sentences, and the pause between them",
        "segments",
        *_JOINED.values(),
        "middles decoded again",
    ]
    said = (
        "Where two figures stand, the first is that of a version before windows were parted, which "
        "also encoded the silence after speech in full."
    )
    return f"{said}\n\n{markdown_table(head, rows)}\n\n{measured_at(result)}"


def _change(earlier: dict[str, Any] | None, now: dict[str, Any], key: str) -> str:
    return f"{now[key]:g}" if earlier is None else f"{earlier[key]:g} → {now[key]:g}"


def oracle(result: Result | None) -> str:
    """Tokens held against CTranslate2's, in float32 with 30 s of context."""
    if result is None:
        return NOT_MEASURED
    counts, near = result["counts"], result["settings"]["near_tie_nats"]
    said = (
        f"Of {counts['clips']} clips ({counts['tokens']:,} tokens) {counts['identical']} are token "
        f"for token those of CTranslate2; {counts['near_ties']} differ first where the two best "
        f"tokens are less than {near:g} nats apart, and {counts['other_differences']} elsewhere."
    )
    return f"{said}\n\n{measured_at(result)}"


def stability(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    rows = [[name.replace("_", " "), *_rule(one)] for name, one in result["rules"].items()]
    head = ["rule", "words settled before the end", "of them wrong", "", "delay p50 (s)",
            "p90 (s)"]  # fmt: skip
    settings = result["settings"]
    said = (
        f"{settings['clips']} sentences, a hypothesis every {settings['every_s']:g} s; a word's "
        "delay is from its end in the recording to the end of the hypothesis that settles it."
    )
    return f"{said}\n\n{markdown_table(head, rows)}\n\n{measured_at(result)}"


def _rule(one: dict[str, Any]) -> list[str]:
    settled, wrong = one["words_settled_before_the_end"], one["wrong"]
    return [
        str(settled),
        str(wrong),
        f"{100 * wrong / settled:.1f} %" if settled else "—",
        f"{one['delay_p50_s']:.2f}",
        f"{one['delay_p90_s']:.2f}",
    ]
