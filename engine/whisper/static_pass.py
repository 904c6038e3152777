"""The decoder pass of a GPU: fixed buffers, graphs of a few sizes, and one wait for the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.whisper.attention import CrossWeights
from engine.whisper.decoder import Decoder
from engine.whisper.packed import Span, pack
from engine.whisper.passes import Chosen, Feed, alignment
from engine.whisper.pick import TokenPicker, gumbel_noise
from engine.whisper.spec import WhisperSpec
from engine.whisper.static_rows import DeviceRows, HostRows, PieceSizes, Room
from engine.whisper.tokenizer import WhisperTokenizer
from kernels.graphs import Replays, bucket
from kernels.queues import Event, Queue, fetch, send

LEAST_ROWS = 512
"""Rows that one piece of a pass can hold, at least. A pass of more is cut between spans, and all
of its pieces are launched before the host waits."""


class StaticPass:
    """A ``DecoderPass`` whose every step is queued before the host waits, once, for the answers.

    Three kinds of work, each with graphs for its own sizes: feed rows (with a table of tiles, or
    without one where each slot has one row, which is the common pass), choose tokens for the
    wanted ones, and look at the starts of transcripts. Drawing at a temperature is rare and runs
    as it is, and so do transcripts that are fed again for their attention.
    """

    def __init__(
        self,
        decoder: Decoder,
        picker: TokenPicker,
        spec: WhisperSpec,
        tokens: WhisperTokenizer,
        queue: Queue,
        *,
        graphs: bool,
    ) -> None:
        slots, device = decoder.caches.slots, decoder.device
        self.rows = bucket(max(LEAST_ROWS, slots, spec.max_tokens))
        self._decoder = decoder
        self._picker = picker
        self._heads = spec.alignment_heads
        self._no_speech = tokens.no_speech
        self._queue = queue
        languages = spec.language_ids or (0,)
        self._room = Room(self.rows, slots, len(languages))
        self._on_host = [HostRows(self._room, device)]  # one for each piece of a pass
        with queue.open():
            self._languages = torch.tensor(languages, device=device)
            self._on_device = DeviceRows(self._room, device)
            self._hidden = torch.zeros(self.rows, spec.width, device=device)
        self._feed_one = self._replays(self._work_feed_one, slots, graphs)
        self._feed_many = self._replays(self._work_feed_many, self.rows, graphs)
        self._choose = self._replays(self._work_choose, self.rows, graphs)
        self._open = self._replays(self._work_open, slots, graphs)

    def hear(self, slot: int, heard: Tensor) -> None:
        """As ``DecoderPass`` has it; on a GPU the queue must have adopted ``heard``, or the host
        have waited for it."""
        with self._queue.open():
            self._decoder.hear(slot, heard)

    def launch(self, feeds: Sequence[Feed]) -> StaticPending:
        while len(self._on_host) < len(feeds):
            self._on_host.append(HostRows(self._room, self._decoder.device))
        try:
            for feed, host in zip(feeds, self._on_host, strict=False):
                self._run(feed, host)
        except RuntimeError:
            self._queue.mark().synchronize()  # what was launched still reads its questions
            raise
        return StaticPending(feeds, self._on_host, self._queue.mark())

    def look(self, spans: Sequence[Span]) -> StaticLooking:
        weights: CrossWeights = {}
        with self._queue.open():
            self._decoder(pack(spans, self._decoder.device), weights)
            fetched = [fetch(alignment(weights, span.slot, self._heads)) for span in spans]
        return StaticLooking(fetched, self._queue.mark())

    def prepare(self) -> None:
        for replays in (self._feed_many, self._feed_one, self._choose, self._open):
            replays.prepare()

    def _replays(self, work: Callable[[int], None], largest: int, graphs: bool) -> Replays:
        return Replays(self._queue, work, self._on_device.blank, largest, graphs=graphs)

    def _run(self, feed: Feed, host: HostRows) -> None:
        """Put one piece into the queue, from its questions to its answers."""
        rows, starts = sum(len(span.tokens) for span in feed.spans), _starts(feed)
        tiled = rows > len(feed.spans)
        feeding = self._feed_many if tiled else self._feed_one
        sizes = PieceSizes(
            rows=feeding.ready(rows),
            wanted=self._choose.ready(len(feed.wanted)) if feed.wanted else 0,
            starts=self._open.ready(starts) if starts else 0,
            tiled=tiled,
        )
        host.ask(feed, sizes)
        device = self._on_device
        with self._queue.open():
            device.asked.copy_(host.asked, non_blocking=True)
            feeding.run(sizes.rows)
            if sizes.wanted:
                self._choose.run(sizes.wanted)
                self._draw(feed)
            if sizes.starts:
                self._open.run(sizes.starts)
            host.answered.copy_(device.answered, non_blocking=True)

    # ---- work on the device: no number of it is known to the host ----------------------------

    def _work_feed_one(self, rows: int) -> None:
        self._hidden[:rows] = self._decoder.feed(self._on_device.table(rows, tiled=False))

    def _work_feed_many(self, rows: int) -> None:
        self._hidden[:rows] = self._decoder.feed(self._on_device.table(rows, tiled=True))

    def _work_choose(self, rows: int) -> None:
        device = self._on_device
        logits = self._logits(device.wanted[:rows])
        device.picks[:rows] = self._picker.choose(logits, device.rules[:rows])

    def _work_open(self, rows: int) -> None:
        openings = self._on_device.openings[:rows]
        logits = self._logits(self._on_device.starts[:rows])
        openings[:, 0] = torch.softmax(logits.float(), -1)[:, self._no_speech]
        languages = logits.index_select(1, self._languages).float()
        openings[:, 1:] = torch.softmax(languages, -1)

    def _draw(self, feed: Feed) -> None:
        """Rows with a temperature choose again; their noise comes from the host."""
        hot = [row for row, rule in enumerate(feed.rules) if rule.temperature > 0]
        if not hot:
            return
        device = self._on_device
        rules = [feed.rules[row] for row in hot]
        at = send(torch.tensor(hot), self._decoder.device)
        temperatures = send(torch.tensor([r.temperature for r in rules]), self._decoder.device)
        logits = self._logits(device.wanted.index_select(0, at))
        noise = torch.stack([gumbel_noise(logits.shape[1], rule.generator) for rule in rules])
        drawn = self._picker.draw(
            logits,
            device.rules.index_select(0, at),
            temperatures,
            send(noise, self._decoder.device),
        )
        device.picks.index_copy_(0, at, drawn)

    def _logits(self, rows: Tensor) -> Tensor:
        return self._decoder.logits(self._hidden.index_select(0, rows))


@dataclass(frozen=True, slots=True)
class StaticPending:
    """Answers on their way to the host."""

    feeds: Sequence[Feed]
    on_host: Sequence[HostRows]
    arrived: Event

    def chosen(self) -> list[Chosen]:
        self.arrived.synchronize()
        return [host.answers(feed) for feed, host in zip(self.feeds, self.on_host, strict=False)]


@dataclass(frozen=True, slots=True)
class StaticLooking:
    """Attention on its way to the host."""

    fetched: list[Tensor]
    arrived: Event

    def done(self) -> bool:
        return self.arrived.query()

    def weights(self) -> list[Tensor]:
        self.arrived.synchronize()
        return self.fetched


def _starts(feed: Feed) -> int:
    return len(feed.silences) + len(feed.languages)
