"""What a window asks of the speech model."""

from __future__ import annotations

from dataclasses import dataclass

from engine import unheard
from engine.asr.backend import AsrJob
from engine.turn import Window
from engine.types import Pcm, SessionOptions


@dataclass(frozen=True, slots=True)
class Ask:
    """How a window is decoded. ``final``: to its end; ``whole``: it is no final yet, but may come
    to stand for one; ``full``: in Whisper's own half minute; ``attend``: attention settles words.
    """

    final: bool = False
    whole: bool = False
    full: bool = False
    attend: bool = False


def job_of(
    window: Window, pcm: Pcm, frames: Pcm, until: int, options: SessionOptions, ask: Ask, now: float
) -> AsrJob:
    """The job for ``pcm``, of which VAD gave its ``frames`` these probabilities; its language is
    still open."""
    check = ask.final or ask.whole
    return AsrJob(
        key=window.turn.key,
        turn_id=window.turn.turn_id,
        window=window.index,
        pcm=pcm,
        is_final=ask.final,
        until_sample=until,
        task=options.task,
        prompt=options.prompt,
        hotwords=options.hotwords,
        context=window.turn.text,
        prefix=window.agreement.settled,
        frames=frames,
        align=options.words or (check and unheard.is_long(pcm)),
        align_below=unheard.least_tokens(frames) if check else 0,
        attend=ask.attend and not ask.final,
        stands_in=ask.whole,
        full_context=ask.full,
        queued_at=now,
    )
