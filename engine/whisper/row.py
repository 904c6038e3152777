"""One segment on its way through the decoder: a state machine without tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.asr.backend import Task
from engine.asr.guards import repeats
from engine.asr.languages import check_known, choose
from engine.whisper.draft import Draft
from engine.whisper.packed import Span
from engine.whisper.pick import Pick, RowRule, plain_rule, timestamp_rule
from engine.whisper.spec import WhisperSpec
from engine.whisper.tokenizer import WhisperTokenizer


@dataclass(frozen=True, slots=True)
class RowRequest:
    """What one segment asks of the decoder.

    ``previous`` are tokens of earlier text, ``prefix`` tokens that must stand, ``draft`` tokens
    that may follow the prefix if the model agrees. ``language=None`` has it detected, as
    ``engine.asr.languages.choose`` does it among ``languages`` with ``last_language``;
    ``previous_anew`` stands for ``previous`` where that is another one than ``last_language``.
    ``align`` asks for the attention of the text, at the cost of one pass more; ``align_below``
    only if it has fewer tokens.
    """

    max_tokens: int
    language: str | None = None
    task: Task = "transcribe"
    previous: tuple[int, ...] = ()
    languages: tuple[str, ...] = ()
    last_language: str | None = None
    previous_anew: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()
    draft: tuple[int, ...] = ()
    timestamps: bool = False
    temperature: float = 0.0
    seed: int = 0
    align: bool = False
    align_below: int = 0


@dataclass(frozen=True, slots=True)
class RowResult:
    """``tokens`` include the prefix; ``passes``, ``drafted`` and ``agreed`` count the work.

    ``log_probabilities`` are those of the tokens after the prefix; ``language_probability`` is
    set where the language was detected.
    ``attention``, where asked for: ``[heads, tokens + 1, heard positions]`` over the model's
    alignment heads, the last token being the end of text.
    """

    tokens: tuple[int, ...]
    language: str | None
    avg_logprob: float
    no_speech_prob: float
    passes: int
    drafted: int
    agreed: int
    attention: Tensor | None = None
    log_probabilities: tuple[float, ...] = ()
    language_probability: float | None = None


@dataclass(slots=True)
class Row:
    """A slot's text so far. ``span`` says what to feed next, ``take`` what came of it."""

    slot: int
    request: RowRequest
    tokens: WhisperTokenizer
    spec: WhisperSpec
    language: str | None = None
    language_probability: float | None = None
    opening: list[int] = field(default_factory=list)
    said: list[int] = field(default_factory=list)
    cached: int = 0
    log_probabilities: list[float] = field(default_factory=list)
    log_probability: float = 0.0
    no_speech_prob: float = 0.0
    passes: int = 0
    drafted: int = 0
    agreed: int = 0
    finished: bool = False
    proposal: tuple[int, ...] = ()
    _draft: Draft = field(default_factory=Draft)
    _generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        self.language = self.request.language
        if not self.tokens.multilingual:
            self.language = "en"
        if self.request.temperature > 0:
            self._generator = torch.Generator().manual_seed(self.request.seed)
        elif self.request.draft:
            self._draft = Draft(self.request.draft[: self.request.max_tokens])
        if self.language is not None:
            self.open(self.language)
        else:
            check_known(self.request.languages, self.tokens.languages)

    @property
    def detecting(self) -> bool:
        """The first pass of a row whose language is not known yet."""
        return not self.opening

    @property
    def sot_row(self) -> int | None:
        """Which row of this pass's span is <|startoftranscript|>, if it is in it."""
        if self.detecting:
            return 0
        at = self.opening.index(self.tokens.start)
        return at - self.cached if at >= self.cached else None

    def detect(self, probabilities: Sequence[float]) -> None:
        """Take how likely each of the model's languages is, and begin the transcript."""
        names = map(self.tokens.language_of, self.spec.language_ids)
        likely = dict(zip(names, probabilities, strict=True))
        request = self.request
        language, probability = choose(likely, request.languages, request.last_language)
        self.language_probability = probability
        self.passes += 1
        self.open(language)

    def open(self, language: str) -> None:
        """Begin the transcript, now that the language is known."""
        self.language = language
        request = self.request
        goes_on = request.last_language in (None, language)
        previous = request.previous if goes_on else request.previous_anew
        head = self.tokens.opening(language, previous, request.task, timestamps=request.timestamps)
        room = self.spec.max_tokens - len(head) - len(request.prefix)
        assert room > 0, "the opening leaves no room for text"
        self.opening = [*head, *request.prefix]
        self.cached = 0

    def span(self) -> Span:
        """The tokens to feed in the next pass: what is not cached yet, and the proposal."""
        if self.detecting:
            return Span(self.slot, 0, (self.tokens.start,))
        known = [*self.opening, *self.said]
        room = self.spec.max_tokens - len(known)
        self.proposal = self._draft.propose(self.said)[:room]
        return Span(self.slot, self.cached, (*known[self.cached :], *self.proposal))

    def rules(self) -> list[RowRule]:
        """One for each token to pick: after what is known, and after each of the proposal."""
        text = [*self.request.prefix, *self.said]
        return [
            self._rule([*text, *self.proposal[:i]] if i else text)
            for i in range(len(self.proposal) + 1)
        ]

    def take(self, picks: Sequence[Pick]) -> None:
        """Keep what the proposal and the model agree on, and the model's next token."""
        known = len(self.opening) + len(self.said)
        agreed = 0
        for pick in picks:
            self._say(pick)
            if self.finished or agreed == len(self.proposal):
                break
            if pick.token != self.proposal[agreed]:
                break
            agreed += 1
        self.cached = known + agreed
        self.passes += 1
        self.drafted += len(self.proposal)
        self.agreed += agreed

    @property
    def aligns(self) -> bool:
        """Whether the attention of its text is wanted, now that it is finished."""
        text = len(self.request.prefix) + len(self.said)
        return self.request.align or text < self.request.align_below

    def text_span(self) -> tuple[Span, int]:
        """The whole transcript with its end, and how many tokens come before the text."""
        head = len(self.opening) - len(self.request.prefix)
        known = (*self.opening, *self.said, self.tokens.end_of_text)[: self.spec.max_tokens]
        return Span(self.slot, 0, known), head

    def result(self, attention: Tensor | None = None) -> RowResult:
        return RowResult(
            attention=attention,
            tokens=(*self.request.prefix, *self.said),
            language=self.language,
            avg_logprob=self.log_probability / (len(self.said) + 1),
            no_speech_prob=self.no_speech_prob,
            passes=self.passes,
            drafted=self.drafted,
            agreed=self.agreed,
            log_probabilities=tuple(self.log_probabilities),
            language_probability=self.language_probability,
        )

    def _say(self, pick: Pick) -> None:
        self.log_probability += pick.log_probability
        if pick.token == self.tokens.end_of_text:
            self.finished = True
            return
        self.said.append(pick.token)
        self.log_probabilities.append(pick.log_probability)
        text = (*self.request.prefix, *self.said)
        full = len(self.opening) + len(self.said) >= self.spec.max_tokens
        self.finished = full or len(text) >= self.request.max_tokens or repeats(text)

    def _rule(self, text: Sequence[int]) -> RowRule:
        if self.request.timestamps:
            pick = timestamp_rule(text, self.tokens, self.spec.vocabulary)
        else:
            pick = plain_rule(len(text))
        return RowRule(pick, self.request.temperature, self._generator)
