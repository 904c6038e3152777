"""The seam for speech models: jobs in, hypotheses out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal, Protocol

from engine.types import SAMPLE_RATE, Pcm

Task = Literal["transcribe", "translate"]

_numbers = count()


@dataclass(frozen=True, slots=True)
class AsrJob:
    """One window of one turn's speech, to be decoded once.

    ``until_sample`` is where its speech ends on the session's clock: two jobs of a window with
    the same end hold the same speech. ``frames`` are VAD's probabilities of speech in it.
    ``context`` is text already settled before this window, ``prompt`` and ``hotwords`` are words to
    expect, ``prefix`` are this window's tokens that must not change any more. ``temperature`` and
    ``full_context`` are raised when a first try failed a guard. ``align`` asks when each token was
    said, ``align_below`` only if there are fewer tokens, ``attend`` how many are settled, of
    backends that can tell. ``stands_in``: a partial that may come to stand for the final.

    With ``language=None`` the language is detected, among ``languages`` where any are named;
    ``last_language`` stands where the detection is unclear. ``context`` is left out where the
    detected language is another one than ``last_language``. ``number`` names the job: copies made
    by ``replace``, to promote it or to try again, keep it.
    """

    key: int
    turn_id: int
    window: int
    pcm: Pcm
    is_final: bool
    until_sample: int = 0
    language: str | None = None
    languages: tuple[str, ...] = ()
    last_language: str | None = None
    task: Task = "transcribe"
    prompt: str = ""
    hotwords: str = ""
    context: str = ""
    prefix: tuple[int, ...] = ()
    temperature: float = 0.0
    full_context: bool = False
    align: bool = False
    align_below: int = 0
    attend: bool = False
    stands_in: bool = False
    queued_at: float = 0.0
    attempt: int = 0
    frames: Pcm | None = None
    number: int = field(default_factory=_numbers.__next__)

    @property
    def seconds(self) -> float:
        return len(self.pcm) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the model heard in one job.

    ``text`` is ``decode(tokens)`` and ``tokens`` begin with the job's prefix. Where the job asked
    for it, ``token_times`` are the seconds in the window at which each token begins and the last
    one ends, and the first ``settled`` tokens are not expected to change with more audio.
    ``language_probability`` is set where the language was detected in this job, and is how likely
    ``language`` was. ``error`` is set, and the rest empty, where the model failed on this job.
    """

    job: AsrJob
    tokens: tuple[int, ...] = ()
    text: str = ""
    language: str | None = None
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    token_logprobs: tuple[float, ...] = ()
    token_times: tuple[float, ...] = ()
    settled: int | None = None
    language_probability: float | None = None
    error: Exception | None = None

    def only(self, first: int, last: int, decode: Callable[[Sequence[int]], str]) -> Hypothesis:
        """Tokens ``[first, last)`` of it, with their times where it has any."""
        tokens = self.tokens[first:last]
        return replace(
            self,
            tokens=tokens,
            text=decode(tokens),
            token_logprobs=(),
            token_times=self.token_times[first : last + 1],
        )


class AsrBackend(Protocol):
    """Runs on one thread, which calls ``submit`` and ``step`` in turn."""

    name: str

    @property
    def active(self) -> int:
        """Jobs that were submitted and have not come back: ``step`` has work to do."""
        ...

    def capacity(self, job: AsrJob) -> int:
        """How many more jobs like ``job`` the next step can take."""
        ...

    def submit(self, jobs: Sequence[AsrJob]) -> None: ...

    def promote(self, job: AsrJob) -> None:
        """``job`` is a final by now: the submitted one of its number is as urgent as any."""
        ...

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        """Forget a turn's jobs, or all of a session's; they may or may not come back."""
        ...

    def step(self) -> list[Hypothesis]:
        """Do one unit of work; every submitted job comes back in exactly one step's list,
        if not this one's then a later one's, unless it was cancelled."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special tokens left out."""
        ...

    def warmup(self) -> None: ...

    def close(self) -> None: ...
