"""Whisper's guards against inventing text, and the bounds that make a short context safe.

The thresholds are those of the reference implementation (openai/whisper, ``transcribe.py``);
the context bounds were measured: too little silence after the speech makes the decoder repeat
itself, so there is a floor, a margin, a cap on tokens, and a second try with all 30 seconds.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from enum import Enum

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.fillers import is_filler
from engine.voiced import mean_voiced

FULL_CONTEXT_S = 30
CONTEXT_BUCKETS_S = (15, 18, 21, 24, 27, FULL_CONTEXT_S)
CONTEXT_MARGIN_S = 4

MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
MAX_NO_SPEECH_PROB = 0.6
# Known outputs for nothing, of 16 hums (`tests/asr/hums.py`) and of 458 pieces of 0.75 and 1.5 s
# cut out of speech: the hums' had a no-speech probability of 0.89 to 0.93. In speech, where they
# were likely enough to be kept (above MIN_AVG_LOGPROB), it was 0.75 at most; a lone "." has been
# seen with 0.77. Of those above MAX_NO_SPEECH_PROB VAD gave all but one ("Thank you.", 0.64) 0.86
# or more on average.
SURELY_NO_SPEECH_PROB = 0.8
WEAKLY_VOICED = 0.8
# Of 88 clips heard at three offsets, one in four was less likely than this. The likelier of what it
# was in a shortened context and in the full one had 11.5 % of all words wrong, not 11.8 %.
DOUBTFUL_AVG_LOGPROB = -0.3
# After a failed first try: the full context, then sampling at rising temperatures.
RETRY_TEMPERATURES = (0.0, 0.4, 0.8)

_TOKENS_PER_SECOND = 12
_TOKENS_AT_LEAST = 24


class Verdict(Enum):
    """What to do with a hypothesis."""

    KEEP = "keep"
    RETRY = "retry"
    NO_SPEECH = "no_speech"


def context_s(seconds: float, full: bool = False) -> int:
    """Seconds of encoder context for ``seconds`` of speech: the smallest bucket with a margin."""
    if full:
        return FULL_CONTEXT_S
    wanted = seconds + CONTEXT_MARGIN_S
    return next((b for b in CONTEXT_BUCKETS_S if b >= wanted), FULL_CONTEXT_S)


def token_cap(seconds: float) -> int:
    """More tokens than anybody can say in ``seconds`` of speech (three times a fast talker)."""
    return _TOKENS_AT_LEAST + round(_TOKENS_PER_SECOND * seconds)


def compression_ratio(text: str) -> float:
    """Length over compressed length of ``text``; repeated text compresses well."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def repeats(tokens: tuple[int, ...], times: int = 4) -> bool:
    """True if ``tokens`` end in a short phrase said ``times`` times in a row."""
    # A word of one token said four times may be meant ("no no no no"): it takes eight tokens.
    for size in range(1, len(tokens) // times + 1):
        count = max(times, -(-8 // size))
        run = tokens[-size * count :]
        if len(run) == size * count and run == run[:size] * count:
            return True
    return False


def judge(hypothesis: Hypothesis) -> Verdict:
    """Keep a hypothesis, try again with more care, or take it for silence."""
    job = hypothesis.job
    unsure = hypothesis.avg_logprob < MIN_AVG_LOGPROB
    if hypothesis.no_speech_prob > MAX_NO_SPEECH_PROB and unsure:
        return Verdict.NO_SPEECH
    if is_filler(hypothesis.text) and not job.prefix and _weak(hypothesis):
        return Verdict.NO_SPEECH
    runaway = (
        len(hypothesis.tokens) >= token_cap(job.seconds)
        or repeats(hypothesis.tokens)
        or compression_ratio(hypothesis.text) > MAX_COMPRESSION_RATIO
    )
    return Verdict.RETRY if runaway or unsure else Verdict.KEEP


def _weak(hypothesis: Hypothesis) -> bool:
    """Whether there is little evidence that anybody spoke: by the model, or by it and VAD."""
    silence = hypothesis.no_speech_prob
    frames = hypothesis.job.frames
    if silence > SURELY_NO_SPEECH_PROB or frames is None:
        return silence > SURELY_NO_SPEECH_PROB
    return silence > MAX_NO_SPEECH_PROB and mean_voiced(frames) < WEAKLY_VOICED


def is_doubtful(hypothesis: Hypothesis) -> bool:
    """Good enough to keep, but worth a second look where there is time for one."""
    return hypothesis.avg_logprob < DOUBTFUL_AVG_LOGPROB


def retry(job: AsrJob) -> AsrJob | None:
    """The next, more careful try at ``job``; None when all have been made."""
    if job.attempt >= len(RETRY_TEMPERATURES):
        return None
    return replace(
        job,
        attempt=job.attempt + 1,
        full_context=True,
        temperature=RETRY_TEMPERATURES[job.attempt],
    )
