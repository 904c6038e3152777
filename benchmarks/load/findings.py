"""What went wrong, turn by turn: what is missing, came twice, came late, or went astray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.load.records import SessionRecord, TurnRecord
from benchmarks.load.speech import Clip
from benchmarks.load.words import compare, normalise

_ASTRAY_OWN_RATE = 0.6
"""Above this own word error rate, a text is compared with what others said…"""
_ASTRAY_OTHER_RATE = 0.4
"""…and belongs to another session if it fits there this well."""
_ASTRAY_WITHIN_S = 20.0
_ASTRAY_WORDS = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """Longer than this is worth a finding of its own, besides the percentiles."""

    late_s: float = 10.0
    """From the end of speech to the final text."""
    stall_s: float = 2.0
    """From a chunk to its acknowledgement."""


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str
    """``missing``, ``doubled``, ``unexpected``, ``late``, ``stalled``, ``astray``,
    ``inconsistent`` or ``error``."""
    session: int
    turn: int | None
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def find(
    sessions: Sequence[SessionRecord],
    clips: Sequence[Clip],
    patience: Patience,
    *,
    acknowledges: bool = True,
    answers: bool = True,
) -> list[Finding]:
    """Everything that should not have happened.

    ``acknowledges`` and ``answers`` are False for a server whose protocol has no such messages.
    """
    found: list[Finding] = []
    for session in sessions:
        found += (Finding("error", session.number, None, text) for text in session.errors)
        found += (Finding("unexpected", session.number, None, t) for t in session.unexpected)
        if acknowledges:
            found += _of_acks(session, patience)
        for turn in session.turns:
            if turn.sent or not session.dropped:
                found += _of_turn(session, turn, patience, answers)
    return found + list(_astray(sessions, clips))


def _of_acks(session: SessionRecord, patience: Patience) -> Iterator[Finding]:
    if session.dropped:
        return
    missing = session.chunks - len(session.acks_ms)
    if missing:
        detail = f"chunk_received: {missing} of {session.chunks}"
        yield Finding("missing", session.number, None, detail)
    slowest_s = max([*session.unacked_s, *(ms / 1e3 for ms in session.acks_ms)], default=0.0)
    if slowest_s > patience.stall_s:
        detail = f"a chunk was not acknowledged for {slowest_s:.1f} s"
        yield Finding("stalled", session.number, None, detail)


def _of_turn(
    session: SessionRecord, turn: TurnRecord, patience: Patience, answers: bool
) -> Iterator[Finding]:
    counts = {"transcription": turn.finals}
    if answers:
        counts |= {"chatbot_response": turn.responses, "segment_processed": turn.processed}
    for name, count in counts.items():
        excused = session.dropped or (name == "transcription" and turn.error_code == "no_speech")
        if count == 0 and not excused:
            yield Finding("missing", session.number, turn.number, name)
        elif count > 1:
            yield Finding("doubled", session.number, turn.number, f"{name}: {count} times")
    if turn.error_code is not None:
        yield Finding("error", session.number, turn.number, turn.error_code)
    if turn.final_s is not None and turn.final_s - turn.speech_end_s > patience.late_s:
        detail = f"final text {turn.final_s - turn.speech_end_s:.1f} s after the end of speech"
        yield Finding("late", session.number, turn.number, detail)
    if turn.responses == 1 and turn.finals == 1 and turn.answer_text not in (None, turn.text):
        yield Finding("inconsistent", session.number, turn.number,
                      "the answer's transcription is not the final text")  # fmt: skip
    if turn.responses == 1 and turn.deltas and turn.deltas != turn.response:
        yield Finding("inconsistent", session.number, turn.number,
                      "the pieces of the reply are not the reply")  # fmt: skip


def _astray(sessions: Sequence[SessionRecord], clips: Sequence[Clip]) -> Iterator[Finding]:
    """Texts that fit what another session said at the time, and not what was said here."""
    spoken = [(session.number, turn) for session in sessions for turn in session.turns]
    for number, turn in spoken:
        own = clips[turn.clip]
        heard = normalise(turn.text, own.language).split()
        if len(heard) < _ASTRAY_WORDS:
            continue
        if compare(own.text, turn.text, own.language).rate <= _ASTRAY_OWN_RATE:
            continue
        for other_number, other in spoken:
            clip = clips[other.clip]
            near = abs(other.start_s - turn.start_s) < _ASTRAY_WITHIN_S
            if other_number == number or not near or clip.text == own.text:
                continue
            if compare(clip.text, turn.text, clip.language).rate < _ASTRAY_OTHER_RATE:
                detail = f"heard what session {other_number} said"
                yield Finding("astray", number, turn.number, detail)
                break
