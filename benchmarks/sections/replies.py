"""The page's part about replies: the first token, work before the turn is over, and barge-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from benchmarks.load import plots, results
from benchmarks.page_parts import cell, markdown_table, measured_at

NOT_MEASURED = "*Not measured yet: `make bench` writes this part.*"
Result = dict[str, Any]

_CASES = {
    "nothing": "nothing: the same model without a warm prefix",
    "system": "the system prompt",
    "history": "the history",
    "early": "the history, and the reply was begun early",
}
_PARTS = {
    "hands_free": "hands free",
    "button": "a button",
    "button_pausing": "a button, with a long pause in each turn",
}
_BY = {"cancel": "`cancel`", "speech": "speech, hands free"}


class Pictures(Protocol):
    def add(self, name: str, svg: str, says: str) -> str: ...


def section(folder: Path, pictures: Pictures) -> str:
    """All three, from their files in ``folder``."""
    first_token, early_start, barge_in = (
        results.read(folder / f"{name}.json") for name in ("first_token", "early_start", "barge_in")
    )
    return "\n\n".join([
        "### The first token after the final transcript",
        _first_token(first_token, pictures),
        "### Work before the turn is over",
        _early_start(early_start),
        "### Barge-in",
        _barge_in(barge_in),
    ])  # fmt: skip


def _first_token(result: Result | None, pictures: Pictures) -> str:
    if result is None:
        return NOT_MEASURED
    rows = [
        [
            _CASES[row["cached"]],
            cell(row, 0, "cached_tokens"),
            cell(row, 0, "computed_tokens"),
            *(cell(row, 1, "first_token_ms", p) for p in ("p50", "p95", "max")),
            cell(row, 3, "ratio_to_cold"),
        ]
        for row in result["rows"]
    ]
    head = ["in the cache", "tokens found there", "tokens computed", "first token p50 (ms)", "p95",
            "max", "÷ nothing"]  # fmt: skip
    bars = [(row["cached"], row["first_token_ms"]["p50"]) for row in result["rows"]]
    said = (
        f"The second turn of a conversation with {result['llm']}, asked of the engine's lane "
        f"{result['rounds']} times; a reply begun early was anticipated {result['lead_s']:g} s "
        "before it was asked for."
    )
    svg = plots.bars(bars, "First token, by what is in the cache", "ms, median")
    picture = pictures.add("first-token", svg, "Time to the first token, by what is in the cache")
    return "\n\n".join([said, markdown_table(head, rows), picture, *_measured(result)])


def _early_start(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    rows = [
        _early_row(what + partials, result[name + suffix]["with_early_start"], result[name])
        for suffix, partials in (("", ""), ("_partials", ", with partial transcripts"))
        for name, what in _PARTS.items()
        if name + suffix in result
    ]
    head = ["one conversation", "turns that hit", "of these after a sentence", "prompt only",
            "transcript to first piece p50, without (ms)", "with", "replies begun in vain",
            "pieces wasted"]  # fmt: skip
    said = (
        "Turns whose reply had been begun before the final transcript was there: after a pause of "
        "200 ms or, with partial transcripts, after what ended like a finished sentence. The "
        f"button is let go {result['release_s']:g} s after the recording ends."
    )
    return "\n\n".join([said, markdown_table(head, rows), *_measured(result)])


def _early_row(what: str, early: Result, base: Result) -> list[str]:
    return [
        what,
        f"{early['hits']} of {early['turns']}",
        cell(early, 0, "hits_after_a_sentence"),
        cell(early, 0, "prefilled"),
        cell(base, 1, "without", "transcript_to_first_piece_ms_p50"),
        cell(early, 1, "transcript_to_first_piece_ms_p50"),
        str(early["misses"]),
        f"{100 * early['wasted_share']:.0f} %",
    ]


def _barge_in(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    rows = [
        [
            _BY[run["by"]],
            str(run["sessions"]),
            f"{run['interruptions']}/{run['interruptions'] + run['too_short']}",
            *(cell(run, 1, "generation_ms", p) for p in ("p50", "p95", "max")),
            *(cell(run, 1, "response_ms", p) for p in ("p50", "p95", "max")),
            cell(run, 1, "heard_to_response_ms", "p95"),
        ]
        for run in result["runs"]
    ]
    head = ["the reply is ended by", "sessions", "replies cut", "generation ends p50 (ms)", "p95",
            "max", "`chatbot_response` p50 (ms)", "p95", "max",
            "from `speech_started` p95 (ms)"]  # fmt: skip
    said = (
        f"The aim is {result['target_ms']} ms. Generation ends when the library has let go of the "
        "reply, counted from when the language model's lane takes the cancel. `chatbot_response` "
        "is counted from the client's `cancel`; with speech from its first sample, so that it "
        "holds the 192 ms of speech that VAD asks for before it believes that somebody speaks."
    )
    return "\n\n".join([said, markdown_table(head, rows), *_measured(result)])


def _measured(result: Result) -> Iterator[str]:
    yield measured_at(result)
    if result["shared_machine"]:
        yield "*Others used the machine meanwhile.*"
