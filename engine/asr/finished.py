"""Whether what was heard so far ends like a finished sentence, before any pause says so. Pure.

Whisper likes to end what is cut off in mid-sentence with a full stop, or with an ellipsis where it
notices. So its word counts only if it thinks each token that is not settled yet likelier than not,
and while hardly anything was said since.
"""

from __future__ import annotations

import math

from engine.asr.backend import Hypothesis
from engine.types import SAMPLE_RATE

_ENDS = ".!?。！？؟।"
_CLOSERS = "\"'”’»)]」』 "
_GOES_ON = ("..", "…")
_LIKELY = math.log(0.5)

# Speech longer than this after what was heard holds a word of its own.
_MOST_SAID_SINCE = SAMPLE_RATE // 5


def is_finished(hypothesis: Hypothesis, said_until_sample: int) -> bool:
    """``said_until_sample``: where speech ends so far, on the session's clock."""
    if said_until_sample - hypothesis.job.until_sample > _MOST_SAID_SINCE:
        return False
    doubts = hypothesis.token_logprobs or (hypothesis.avg_logprob,)
    return min(doubts) > _LIKELY and ends_a_sentence(hypothesis.text)


def ends_a_sentence(text: str) -> bool:
    """Closed by punctuation that ends one, in any of the scripts that Whisper writes."""
    bare = text.rstrip(_CLOSERS)
    return bare.endswith(tuple(_ENDS)) and not bare.endswith(_GOES_ON)
