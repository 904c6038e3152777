"""The fixed places through which a decoder pass on a GPU is told what to do, and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.whisper.packed import RowTable, lay_out
from engine.whisper.passes import Chosen, Feed
from engine.whisper.pick import Pick
from kernels.graphs import bucket
from kernels.queues import host_room
from kernels.slot_attention import TILE_ROWS, cut_tiles


@dataclass(frozen=True, slots=True)
class Room:
    """How much one pass may hold: ``rows`` of ``slots`` slots; the slot after those is spare.
    ``languages`` is how many the model knows."""

    rows: int
    slots: int
    languages: int

    def tiles(self, rows: int) -> int:
        """Tiles that ``rows`` may need, whosever they are, padding included."""
        return min(rows, self.slots + 1 + rows // TILE_ROWS)

    @property
    def questions(self) -> list[tuple[int, ...]]:
        """int32: rows (token, position, slot, length), tiles, rows whose token is wanted, their
        rules, and rows of <|startoftranscript|>."""
        return [(4, self.rows), (self.tiles(self.rows), 2), (self.rows,), (self.rows, 4),
                (self.rows,)]  # fmt: skip

    @property
    def answers(self) -> list[tuple[int, ...]]:
        """float32: token and log-probability of the wanted; probabilities of no speech and of
        each language of the starts, of which a slot has one at most."""
        return [(self.rows, 2), (bucket(self.slots), 1 + self.languages)]


@dataclass(frozen=True, slots=True)
class PieceSizes:
    """What one piece is run with, padding included; ``tiled`` where a slot has several rows."""

    rows: int
    wanted: int
    starts: int
    tiled: bool


class DeviceRows:
    """On the device: written by one transfer, read by one."""

    def __init__(self, room: Room, device: torch.device) -> None:
        self._room = room
        self.asked = torch.zeros(_total(room.questions), dtype=torch.int32, device=device)
        self.answered = torch.zeros(_total(room.answers), device=device)
        self._rows, self._tiles, self.wanted, self.rules, self.starts = _views(
            self.asked, room.questions
        )
        self.picks, self.openings = _views(self.answered, room.answers)

    def blank(self) -> None:
        """Padding everywhere: rows of the spare slot, which see nothing."""
        self.asked.zero_()
        self._rows[2] = self._room.slots

    def table(self, rows: int, *, tiled: bool) -> RowTable:
        tiles = self._tiles[: self._room.tiles(rows)] if tiled else None
        tokens, positions, slots, lengths = self._rows[:, :rows].unbind()
        return RowTable(tokens, positions, slots, lengths, tiles)


class HostRows:
    """The same on the host, in memory that the device reads and writes by itself."""

    def __init__(self, room: Room, device: torch.device) -> None:
        self._room = room
        self.asked = host_room((_total(room.questions),), torch.int32, device)
        self.answered = host_room((_total(room.answers),), torch.float32, device)
        arrays = [view.numpy() for view in _views(self.asked, room.questions)]
        self._rows, self._tiles, self._wanted, self._rules, self._starts = arrays
        self._picks, self._openings = (v.numpy() for v in _views(self.answered, room.answers))

    def ask(self, feed: Feed, sizes: PieceSizes) -> None:
        """Write down a feed, and padding up to ``sizes``."""
        tokens, positions, slots = lay_out(feed.spans)
        fed, spare = len(tokens), self._room.slots
        self._rows[:3, :fed] = tokens, positions, slots
        self._rows[3, :fed] = self._rows[1, :fed] + 1
        self._rows[:, fed : sizes.rows] = np.array([[0], [0], [spare], [0]])
        if sizes.tiled:
            tiles = cut_tiles([*slots, *[spare] * (sizes.rows - fed)])
            _fill(self._tiles, tiles, self._room.tiles(sizes.rows))
        _fill(self._wanted, feed.wanted, sizes.wanted)
        _fill(self._rules, [rule.pick for rule in feed.rules], sizes.wanted)
        _fill(self._starts, (*feed.silences, *feed.languages), sizes.starts)

    def answers(self, feed: Feed) -> Chosen:
        """What has arrived for ``feed``."""
        picks = self._picks[: len(feed.wanted)].tolist()
        quiet = len(feed.silences)
        openings = self._openings[: quiet + len(feed.languages)].tolist()
        return Chosen(
            [Pick(int(token), log_probability) for token, log_probability in picks],
            [no_speech for no_speech, *_ in openings[:quiet]],
            [likely for _, *likely in openings[quiet:]],
        )


def _fill(room: npt.NDArray[np.int32], values: npt.ArrayLike, end: int) -> None:
    """``values`` at the begin, zeros up to ``end``."""
    known = np.asarray(values, np.int32).reshape(-1, *room.shape[1:])
    assert len(known) <= end <= len(room), (len(known), end, len(room))
    room[: len(known)] = known
    room[len(known) : end] = 0


def _total(shapes: Sequence[tuple[int, ...]]) -> int:
    return sum(prod(shape) for shape in shapes)


def _views(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> Iterator[Tensor]:
    """``flat`` cut into tensors of ``shapes``."""
    first = 0
    for shape in shapes:
        end = first + prod(shape)
        yield flat[first:end].view(shape)
        first = end
