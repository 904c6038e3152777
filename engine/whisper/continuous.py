"""Continuous batching: rows join and leave between any two passes of the decoder."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from engine.whisper.attention import CrossWeights
from engine.whisper.decoder import Decoder
from engine.whisper.packed import pack
from engine.whisper.pick import Pick, RowRule, TokenPicker
from engine.whisper.row import Row, RowRequest, RowResult
from engine.whisper.spec import WhisperSpec
from engine.whisper.tokenizer import WhisperTokenizer

_SCORED_ROWS = 64


class ContinuousDecoder:
    """Slots, and one pass at a time over all rows that hold one.

    A pass feeds every row whatever it has: an opening, a draft to verify, or one token. Nothing
    is padded to a neighbour's length and no row waits for another.
    """

    def __init__(
        self, decoder: Decoder, picker: TokenPicker, spec: WhisperSpec, tokens: WhisperTokenizer
    ) -> None:
        self._decoder = decoder
        self._picker = picker
        self._spec = spec
        self._tokens = tokens
        self._languages = torch.tensor(spec.language_ids, device=decoder.device)
        self._rows: dict[int, Row] = {}
        self._free = list(reversed(range(decoder.caches.slots)))

    def __len__(self) -> int:
        """Rows at work."""
        return len(self._rows)

    @property
    def free(self) -> int:
        return len(self._free)

    def join(self, request: RowRequest, states: Tensor) -> int:
        """Take a slot for encoder states ``[positions, width]``; returns the slot."""
        row = Row(self._free[-1], request, self._tokens, self._spec)
        self._decoder.hear(row.slot, states)
        self._rows[self._free.pop()] = row
        return row.slot

    def leave(self, slot: int) -> None:
        """Give up a slot before its row is finished."""
        del self._rows[slot]
        self._free.append(slot)

    def step(self) -> list[tuple[int, RowResult]]:
        """One pass over all rows; those that finished, by slot, and their slots are free again."""
        if not self._rows:
            return []
        rows = list(self._rows.values())
        self._advance(rows)
        finished = [(row.slot, self._result(row)) for row in rows if row.finished]
        for slot, _ in finished:
            self.leave(slot)
        return finished

    def _result(self, row: Row) -> RowResult:
        if not row.request.align:
            return row.result()
        span, head = row.text_span()
        weights: CrossWeights = {}
        self._decoder(pack([span], self._decoder.device), weights)
        heads = self._spec.alignment_heads
        attention = torch.stack([weights[layer, row.slot][index] for layer, index in heads])
        # the weights at a position choose the token after it
        return row.result(attention[:, head - 1 : -1].cpu())

    def _advance(self, rows: list[Row]) -> None:
        packed = pack([row.span() for row in rows], self._decoder.device)
        hidden = self._decoder(packed)
        wanted: list[int] = []
        starts: list[tuple[Row, int]] = []
        first = 0
        for row, span in zip(rows, packed.spans, strict=True):
            end = first + len(span.tokens)
            if not row.detecting:
                wanted += range(end - len(row.proposal) - 1, end)
            if (start := row.sot_row) is not None:
                starts.append((row, first + start))
            first = end
        speaking = [row for row in rows if not row.detecting]
        picks, scores = self._choose(
            hidden[[*wanted, *(at for _, at in starts)]],
            [rule for row in speaking for rule in row.rules()],
        )
        for row in speaking:
            row.take([next(picks) for _ in range(len(row.proposal) + 1)])
        for (row, _), of_row in zip(starts, scores, strict=True):
            self._begin(row, of_row)

    def _choose(self, hidden: Tensor, rules: list[RowRule]) -> tuple[Iterator[Pick], list[Tensor]]:
        """A pick for each rule, and the scores of the hidden states after those.

        Scores of a whole vocabulary are large, so that few rows have theirs at a time.
        """
        picks: list[Pick] = []
        scores: list[Tensor] = []
        for first in range(0, len(hidden), _SCORED_ROWS):
            piece = hidden[first : first + _SCORED_ROWS]
            logits = self._decoder.logits(piece)
            ruled = rules[first : first + _SCORED_ROWS]
            if ruled:
                picks += self._picker(piece[: len(ruled)], logits[: len(ruled)], ruled)
            scores += logits[len(ruled) :]
        return iter(picks), scores

    def _begin(self, row: Row, logits: Tensor) -> None:
        """What the scores after <|startoftranscript|> say: silence, and which language."""
        if row.detecting:
            best = int(logits[self._languages].argmax())
            row.passes += 1
            row.open(self._tokens.language_of(self._spec.language_ids[best]))
            return
        probabilities = torch.softmax(logits.float(), -1)
        row.no_speech_prob = float(probabilities[self._tokens.no_speech])
