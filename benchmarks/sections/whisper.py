"""Whisper in torch beside CTranslate2 and faster-whisper: encoder, decoder, drafts, work."""

from __future__ import annotations

from typing import Any

from benchmarks.load import plots
from benchmarks.page_parts import NOT_MEASURED, Pictures, Result, markdown_table, measured_at


def section(result: Result | None, pictures: Pictures) -> str:
    if result is None:
        return NOT_MEASURED
    settings = result["settings"]
    said = (
        f"`{settings['model']}`, threads of each side: {settings['threads']}; torch in "
        f"{settings['type']}, CTranslate2 in int8; processor time, the least of several tries."
    )
    return "\n\n".join([
        said,
        _work(result["work"]),
        _drafts(result["drafts"]),
        _encoder(result["encode"], pictures),
        _decoder(result["step"]),
        measured_at(result),
    ])  # fmt: skip


def _work(work: dict[str, Any]) -> str:
    spent = work["work_per_speech"]
    names = {"at_once": "Antiphon, all at once", "one_by_one": "Antiphon, one by one",
             "faster_whisper": "faster-whisper `transcribe()`, beam 1"}  # fmt: skip
    rows = [[title, f"{1e3 * spent[name]:.1f}", f"{spent[name] / spent['faster_whisper']:.3f}"]
            for name, title in names.items()]  # fmt: skip
    head = [f"final texts of {work['clips']} utterances, {work['speech_s']:g} s",
            "ms of work for a second of speech", "÷ faster-whisper"]  # fmt: skip
    return markdown_table(head, rows)


def _drafts(drafts: dict[str, Any]) -> str:
    rows = [
        [name, f"{one['passes_median']:g}", f"{one['passes_mean']:g}", f"{one['final_ms_mean']:g}",
         f"{one['agreed_tokens']} of {one['drafted_tokens']}"]
        for name, one in (("without drafts", drafts["without_drafts"]),
                          ("the last partial as draft", drafts["with_drafts"]))
    ]  # fmt: skip
    head = [f"a final text ({drafts['clips']} utterances)", "decoder passes, median", "mean",
            "processor time (ms)", "drafted tokens that stood"]  # fmt: skip
    said = f"The text was the same in {drafts['same_text']} of {drafts['clips']}."
    return f"{markdown_table(head, rows)}\n\n{said}"


def _encoder(encode: list[dict[str, Any]], pictures: Pictures) -> str:
    rows = [
        [f"{one['context_s']}", f"{one['torch_ms']:.0f}", f"{one['ctranslate2_int8_ms']:.0f}",
         f"{one['ratio']:.2f}", f"{100 * one['share_of_matrix_peak']:.0f} %"]
        for one in encode
    ]  # fmt: skip
    head = ["encoder: context (s)", "torch (ms)", "CTranslate2 int8 (ms)", "ratio",
            "torch's share of the matrix peak in its type"]  # fmt: skip
    context_s = [one["context_s"] for one in encode]
    lines = [(title, context_s, [one[name] for one in encode])
             for title, name in (("torch", "torch_ms"),
                                 ("CTranslate2 int8", "ctranslate2_int8_ms"))]  # fmt: skip
    svg = plots.curve(lines, "Encoding one segment", "ms of processor time",
                      below="seconds of context")  # fmt: skip
    image = pictures.add("whisper-encoder", svg, "Processor time of the encoder, by context")
    return f"{markdown_table(head, rows)}\n\n{image}"


def _decoder(step: list[dict[str, Any]]) -> str:
    rows = [[f"{one['rows']}", f"{one['torch_ms']:.1f}", f"{one['ctranslate2_int8_ms']:.1f}"]
            for one in step]  # fmt: skip
    head = ["decoder: one token more for so many rows", "torch (ms)", "CTranslate2 int8 (ms)"]
    return markdown_table(head, rows)
