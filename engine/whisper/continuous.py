"""Continuous batching: rows join and leave between any two passes of the decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from engine.whisper.passes import Chosen, DecoderPass, Looking, Pending, feeds_of
from engine.whisper.row import Row, RowRequest, RowResult
from engine.whisper.spec import WhisperSpec
from engine.whisper.tokenizer import WhisperTokenizer


@dataclass(frozen=True, slots=True, eq=False)
class _Aligning:
    """Finished rows, where their text begins, and where it looks."""

    rows: Sequence[Row]
    heads: Sequence[int]
    looking: Looking

    def seen(self) -> Iterator[tuple[Row, int, Tensor]]:
        return zip(self.rows, self.heads, self.looking.weights(), strict=True)


class ContinuousDecoder:
    """Slots, and one pass at a time over all rows that hold one.

    A pass feeds every row whatever it has: an opening, a draft to verify, or one token. Nothing
    is padded to a neighbour's length and no row waits for another.
    """

    def __init__(
        self, decoder: DecoderPass, slots: int, spec: WhisperSpec, tokens: WhisperTokenizer
    ) -> None:
        self._decoder = decoder
        self._spec = spec
        self._tokens = tokens
        self._rows: dict[int, Row] = {}
        self._free = list(reversed(range(slots)))
        self._launched: tuple[Sequence[Sequence[Row]], Pending] | None = None
        self._aligning: list[_Aligning] = []

    def __len__(self) -> int:
        """Rows at work."""
        return len(self._rows)

    @property
    def free(self) -> int:
        return len(self._free)

    def prepare(self) -> None:
        """Whatever is better done before the first row joins."""
        self._decoder.prepare()

    def join(self, request: RowRequest, heard: Tensor) -> int:
        """Take a slot for encoder states ``[positions, width]``, or what ``Decoder.project`` made
        of them; returns the slot."""
        row = Row(self._free[-1], request, self._tokens, self._spec)
        self._decoder.hear(row.slot, heard)
        self._rows[self._free.pop()] = row
        return row.slot

    def leave(self, slot: int) -> None:
        """Give up a slot before its row is finished."""
        del self._rows[slot]
        self._free.append(slot)

    def step(self) -> list[tuple[int, RowResult]]:
        """One pass over all rows; those that finished, by slot, and their slots are free again."""
        self.launch()
        return self.collect()

    def launch(self) -> None:
        """Begin a pass over all rows; none may join or leave before ``collect``."""
        assert self._launched is None, "a pass is under way"
        rows = [row for row in self._rows.values() if not row.finished]
        if rows:
            groups, feeds = zip(*feeds_of(rows, self._decoder.rows), strict=True)
            self._launched = groups, self._decoder.launch(feeds)

    def collect(self) -> list[tuple[int, RowResult]]:
        """What came of the pass; the host waits for the device at most once.

        A row whose attention is wanted is fed once more. It comes back when that is there: on a
        GPU with the next pass, which nobody waits for twice.
        """
        waited = self._launched is not None
        finished = self._take()
        self._align([row for row in finished if row.aligns])
        results = [(row.slot, row.result()) for row in finished if not row.aligns]
        results += self._aligned(wait=not waited)
        for slot, _ in results:
            self.leave(slot)
        return results

    def _take(self) -> list[Row]:
        """Give each row what the pass chose for it; those that are finished with it."""
        if self._launched is None:
            return []
        (groups, pending), self._launched = self._launched, None
        for rows, chosen in zip(groups, pending.chosen(), strict=True):
            self._give(rows, chosen)
        return [row for rows in groups for row in rows if row.finished]

    def _give(self, rows: Sequence[Row], chosen: Chosen) -> None:
        picks, silences = iter(chosen.picks), iter(chosen.silences)
        languages = iter(chosen.languages)
        for row in rows:
            if row.detecting:
                row.detect(next(languages))
                continue
            if row.sot_row is not None:
                row.no_speech_prob = next(silences)
            row.take([next(picks) for _ in range(len(row.proposal) + 1)])

    def _align(self, rows: list[Row]) -> None:
        """Begin to ask where the text of finished rows looks."""
        if rows:
            spans, heads = zip(*(row.text_span() for row in rows), strict=True)
            self._aligning.append(_Aligning(rows, heads, self._decoder.look(spans)))

    def _aligned(self, *, wait: bool) -> list[tuple[int, RowResult]]:
        """Results whose attention is there; with ``wait`` those of the oldest in any case."""
        self._aligning = [each for each in self._aligning if any(map(self._holds, each.rows))]
        there = [each for each in self._aligning if each.looking.done()]
        if wait and not there:
            there = self._aligning[:1]
        self._aligning = [each for each in self._aligning if each not in there]
        return [
            # the weights at a position choose the token after it
            (row.slot, row.result(weights[:, head - 1 : -1]))
            for each in there
            for row, head, weights in each.seen()
            if self._holds(row)
        ]

    def _holds(self, row: Row) -> bool:
        return self._rows.get(row.slot) is row
