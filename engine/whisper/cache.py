"""Keys and values of every slot: what was said (self) and what was heard (cross)."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from engine.whisper.build import HEAD_DIM
from engine.whisper.spec import WhisperSpec


class SlotCaches:
    """Static caches, ``[slots, heads, length, head_dim]`` for each layer.

    With ``compact`` (a CPU) a slot's cross keys and values lie densely at the begin of its room,
    ``[heads, heard, head_dim]``, since matrix products over dense operands are several times as
    fast; self keys and values are float32 then, since one query against few keys is bound by
    set-up, which is least in float32. Memory that was never written costs nothing on Linux.

    Without it (a GPU) there is a slot more, ``slots``, which has heard nothing: rows that pad a
    batch write to it, and nobody reads it. ``heard`` ``[slots + 1]`` int32 says on the device how
    many encoder positions each slot holds.
    """

    def __init__(
        self,
        spec: WhisperSpec,
        slots: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        compact: bool,
    ) -> None:
        self.slots = slots
        self.compact = compact
        rooms = slots if compact else slots + 1
        self.heard = torch.zeros(rooms, dtype=torch.int32, device=device)
        self._heard = [0] * slots
        self_type = torch.float32 if compact else dtype
        said = (spec.decoder_layers, rooms, spec.heads, spec.max_tokens, HEAD_DIM)
        heard = (spec.decoder_layers, rooms, spec.heads, spec.max_positions, HEAD_DIM)
        self.self_k = torch.empty(said, dtype=self_type, device=device)
        self.self_v = torch.empty(said, dtype=self_type, device=device)
        self.cross_k = torch.empty(heard, dtype=dtype, device=device)
        self.cross_v = torch.empty(heard, dtype=dtype, device=device)

    def append(self, layer: int, rows_at: tuple[Tensor, Tensor], k: Tensor, v: Tensor) -> None:
        """Store k, v ``[rows, heads, head_dim]`` at (slots, positions) ``rows_at``."""
        slots, positions = rows_at
        self.self_k[layer][slots, :, positions] = k.to(self.self_k.dtype)
        self.self_v[layer][slots, :, positions] = v.to(self.self_v.dtype)

    def cross(self, layer: int, slot: int) -> tuple[Tensor, Tensor]:
        """The slot's keys and values, each ``[heads, heard, head_dim]``."""
        return self._room(self.cross_k, layer, slot), self._room(self.cross_v, layer, slot)

    def hear(self, slot: int, keys_values: Tensor) -> None:
        """Fill a slot from ``[positions, layers, 2, heads, head_dim]``."""
        self._heard[slot] = heard = keys_values.shape[0]
        if not self.compact:  # two copies, however many layers there are
            self.heard[slot].fill_(heard)
            self.cross_k[:, slot, :, :heard].copy_(keys_values[:, :, 0].permute(1, 2, 0, 3))
            self.cross_v[:, slot, :, :heard].copy_(keys_values[:, :, 1].permute(1, 2, 0, 3))
            return
        for layer, of_layer in enumerate(keys_values.permute(1, 2, 3, 0, 4)):
            for room, new in zip(self.cross(layer, slot), of_layer, strict=True):
                room.copy_(new)

    def _room(self, cache: Tensor, layer: int, slot: int) -> Tensor:
        room, heard = cache[layer, slot], self._heard[slot]
        if not self.compact:
            return room[:, :heard]
        shape = (room.shape[0], heard, room.shape[2])
        return room.view(-1)[: prod(shape)].view(shape)
