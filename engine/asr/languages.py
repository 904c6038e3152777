"""Which language a window is decoded in, once the model has said how likely each one is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.asr.backend import AsrJob
from engine.errors import ModelError

# `base` heard the first 2.5 s of 7 out of 60 clips in six languages in another one: 4 times with a
# probability below 0.6 (3 right ones had that), never with 0.9; of 71 whole clips one, with 0.51.
CLEAR_PROBABILITY = 0.6
SURE_PROBABILITY = 0.9
# After a pause in one Spanish clip `base` heard Portuguese with 0.76 to 0.82, and Spanish with 0.10
# to 0.15; where the language did change, in pairs of sentences, it gave the old one 0.004 at most.
PLAUSIBLE_PROBABILITY = 0.05


def choose(
    probabilities: Mapping[str, float], allowed: Sequence[str] = (), kept: str | None = None
) -> tuple[str, float]:
    """The language to decode in, and how likely it is among those allowed (all, if none is named).

    ``kept`` is the language spoken so far: it stands unless another one is clearly likelier, and
    it is hardly possible itself.
    """
    among = {
        name: probabilities[name] for name in allowed or probabilities if name in probabilities
    }
    total = sum(among.values()) or 1.0
    best = max(among, key=among.__getitem__)
    likely = among[best] / total
    if kept in among:
        kept_likely = among[kept] / total
        if likely < CLEAR_PROBABILITY or kept_likely >= PLAUSIBLE_PROBABILITY:
            return kept, kept_likely
    return best, likely


def check_known(allowed: Sequence[str], known: frozenset[str]) -> None:
    """Raises ``ModelError`` if the model knows none of ``allowed``."""
    if allowed and not known.intersection(allowed):
        raise ModelError(f"this Whisper knows none of the languages {', '.join(allowed)}")


def fits_context(job: AsrJob, language: str | None) -> bool:
    """Whether the text before this window is a fit prompt: in another language it would lead the
    decoder to go on in that one."""
    return job.last_language in (None, language)
