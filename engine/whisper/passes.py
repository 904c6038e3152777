"""One pass of the decoder: what is fed, what is asked, and the plain way to answer it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.whisper.attention import CrossWeights
from engine.whisper.decoder import Decoder
from engine.whisper.packed import Span, pack
from engine.whisper.pick import Pick, RowRule, TokenPicker
from engine.whisper.row import Row
from engine.whisper.spec import WhisperSpec
from engine.whisper.tokenizer import WhisperTokenizer

_SCORED_ROWS = 64
_ROWS_PER_THREAD = 64


@dataclass(frozen=True, slots=True)
class Feed:
    """Spans, and what is asked of which of their rows, counted from the first span's first.

    ``wanted`` rows choose a token, each under its rule; ``silences`` rows tell how likely there
    is no speech, ``languages`` rows which language it is.
    """

    spans: tuple[Span, ...]
    wanted: tuple[int, ...]
    rules: tuple[RowRule, ...]
    silences: tuple[int, ...]
    languages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """An answer for each row that was asked; ``languages`` are the probabilities of each of the
    model's languages, in the order of its list."""

    picks: list[Pick]
    silences: list[float]
    languages: list[list[float]]


class Pending(Protocol):
    """Results that a device is still computing."""

    def chosen(self) -> list[Chosen]:
        """One for each feed; waits, once, until they are there."""
        ...


class Looking(Protocol):
    """Where transcripts look, on its way to the host."""

    def done(self) -> bool:
        """Whether it is there; never waits."""
        ...

    def weights(self) -> list[Tensor]:
        """For each span ``[alignment heads, tokens, heard]`` on the CPU; waits for them."""
        ...


class DecoderPass(Protocol):
    """How passes are run on a device. ``rows`` is how many one feed may have."""

    rows: int

    def hear(self, slot: int, heard: Tensor) -> None:
        """Give a slot its encoder states ``[positions, width]``, or what ``Decoder.project`` made
        of them."""
        ...

    def launch(self, feeds: Sequence[Feed]) -> Pending:
        """Begin one pass for each feed."""
        ...

    def look(self, spans: Sequence[Span]) -> Looking:
        """Feed whole transcripts and begin to fetch where they look."""
        ...

    def prepare(self) -> None:
        """Whatever is better done before the first pass."""
        ...


def feeds_of(rows: Sequence[Row], limit: int) -> Iterator[tuple[Sequence[Row], Feed]]:
    """What ``rows`` feed and ask next, in feeds of at most ``limit`` tokens, with their rows."""
    spans = [row.span() for row in rows]
    for part in _cut([len(span.tokens) for span in spans], limit):
        yield rows[part], _feed(rows[part], spans[part])


def _cut(sizes: Sequence[int], limit: int) -> Iterator[slice]:
    """Runs whose sizes sum up to at most ``limit``."""
    first, total = 0, 0
    for at, size in enumerate(sizes):
        if total + size > limit and at > first:
            yield slice(first, at)
            first, total = at, 0
        total += size
    yield slice(first, len(sizes))


def _feed(rows: Sequence[Row], spans: Sequence[Span]) -> Feed:
    wanted: list[int] = []
    rules: list[RowRule] = []
    silences: list[int] = []
    languages: list[int] = []
    first = 0
    for row, span in zip(rows, spans, strict=True):
        end = first + len(span.tokens)
        start = row.sot_row
        if row.detecting:
            languages.append(first)
        else:
            wanted += range(end - len(row.proposal) - 1, end)
            rules += row.rules()
            if start is not None:
                silences.append(first + start)
        first = end
    return Feed(tuple(spans), tuple(wanted), tuple(rules), tuple(silences), tuple(languages))


class DirectPass:
    """Each operation in turn, on tensors of the very shapes: the way of a CPU.

    An operation on few rows is shorter than it takes to wake another thread for it: on two cores
    a pass of 1 to 24 rows takes 1.1 to 1.5 times as long on two threads as on one, and only from a
    hundred rows on less. So a thread more joins for each ``_ROWS_PER_THREAD``, of those that the
    caller's ``torch.set_num_threads`` allows.
    """

    rows = 1 << 30

    def __init__(
        self, decoder: Decoder, picker: TokenPicker, spec: WhisperSpec, tokens: WhisperTokenizer
    ) -> None:
        self._decoder = decoder
        self._picker = picker
        self._heads = spec.alignment_heads
        self._no_speech = tokens.no_speech
        self._languages = torch.tensor(spec.language_ids, device=decoder.device)

    def hear(self, slot: int, heard: Tensor) -> None:
        self._decoder.hear(slot, heard)

    def launch(self, feeds: Sequence[Feed]) -> Due:
        return Due(self, feeds)

    def run(self, feeds: Sequence[Feed]) -> list[Chosen]:
        """The pass itself, by the calling thread."""
        rows = sum(len(span.tokens) for feed in feeds for span in feed.spans)
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, min(threads, rows // _ROWS_PER_THREAD)))
        try:
            return [self._run(feed) for feed in feeds]
        finally:
            torch.set_num_threads(threads)

    def look(self, spans: Sequence[Span]) -> Seen:
        weights: CrossWeights = {}
        self._decoder(pack(spans, self._decoder.device), weights)
        return Seen([alignment(weights, span.slot, self._heads).cpu() for span in spans])

    def prepare(self) -> None:
        """Nothing: every pass is as quick as the first."""

    def _run(self, feed: Feed) -> Chosen:
        hidden = self._decoder(pack(feed.spans, self._decoder.device))
        asked = hidden[[*feed.wanted, *feed.silences, *feed.languages]]
        picks: list[Pick] = []
        openings: list[Tensor] = []
        for piece, logits in self._scored(asked):
            rules = feed.rules[len(picks) : len(picks) + len(piece)]
            if rules:
                ruled = len(rules)
                picks += self._picker(piece[:ruled], logits[:ruled], rules)
            openings += logits[len(rules) :]
        quiet = [self._silence(logits) for logits in openings[: len(feed.silences)]]
        spoken = [self._language(logits) for logits in openings[len(feed.silences) :]]
        return Chosen(picks, quiet, spoken)

    def _scored(self, hidden: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Hidden states and logits, of few rows at a time: those of a vocabulary are large."""
        for first in range(0, len(hidden), _SCORED_ROWS):
            piece = hidden[first : first + _SCORED_ROWS]
            yield piece, self._decoder.logits(piece)

    def _silence(self, logits: Tensor) -> float:
        return float(torch.softmax(logits.float(), -1)[self._no_speech])

    def _language(self, logits: Tensor) -> list[float]:
        likely: list[float] = torch.softmax(logits[self._languages].float(), -1).tolist()
        return likely


@dataclass(frozen=True, slots=True)
class Due:
    """``Pending`` that is computed when it is asked for."""

    way: DirectPass
    feeds: Sequence[Feed]

    def chosen(self) -> list[Chosen]:
        return self.way.run(self.feeds)


@dataclass(frozen=True, slots=True)
class Seen:
    """``Looking`` that is there already."""

    results: list[Tensor]

    def done(self) -> bool:
        return True

    def weights(self) -> list[Tensor]:
        return self.results


def alignment(weights: CrossWeights, slot: int, heads: Sequence[tuple[int, int]]) -> Tensor:
    """A slot's ``[heads, tokens, heard]`` for (layer, head) pairs."""
    return torch.stack([weights[layer, slot][head] for layer, head in heads])
