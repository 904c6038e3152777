"""Several channels to one: their mean, or where they cancel each other, one of them."""

from __future__ import annotations

import numpy as np

from engine.types import Pcm
from server.media.channel_choice import BLOCK_S, MIX, ChannelChoice, ChoicesByCount

# Energies are compared on some 4,000 points a second, each less the one 0.5 ms before in its block:
# that takes off what is no voice but may be large, constant offsets and hum.
_POINTS_HZ = 4_000
_LAG_POINTS = 2
_FADE_S = 0.01
_FLOOR = 1e-8  # mean energy of a point and a channel (-80 dBFS); what lies below it is silence


class Mixer:
    """float32[channels, n] to float32[n]; the same samples come out however the input is cut.

    Nothing is held back: what a block of ``BLOCK_S``, counted from the signal's beginning, has
    shown, holds from the next block on, which begins with fading over to it.
    """

    def __init__(self, channels: int, rate_hz: int, choices: ChoicesByCount | None = None) -> None:
        self.channels = channels
        choices = {} if choices is None else choices
        self._choice = choices.setdefault(channels, ChannelChoice())
        self._stride = max(1, rate_hz // _POINTS_HZ)
        self._block_points = round(rate_hz / self._stride * BLOCK_S)
        self._block = self._block_points * self._stride
        self._floor = _FLOOR * self._block_points * channels
        self._points: Pcm | None = None  # of the present block
        self._at = 0  # in the present block
        self._before = self._now = self._choice.current
        steps = np.arange(1, self._block + 1, dtype=np.float32)
        self._ramp = np.minimum(steps / np.float32(rate_hz * _FADE_S), np.float32(1))

    def feed(self, planes: Pcm) -> Pcm:
        """Mix float32[channels, n], in any memory layout, finite and not far above full scale."""
        mono = _mean(planes)
        choices = self._choose(planes)
        if self._before == self._now == MIX and choices.count(MIX) == len(choices):
            self._at = (self._at + len(mono)) % self._block
            return mono
        start = 0
        for choice in choices:
            end = start + self._block - self._at
            self._render(mono, planes, start, end)
            self._before, self._now, self._at = self._now, choice, 0
            start = end
        self._render(mono, planes, start, len(mono))
        self._at += len(mono) - start
        return mono

    def _choose(self, planes: Pcm) -> list[int]:
        """What follows each block that ends within ``planes``; its last frame is a point."""
        points = planes[:, self._stride - 1 - self._at % self._stride :: self._stride]
        if self._points is not None:
            points = np.concatenate((self._points, points), axis=1)
        blocks = points.shape[1] // self._block_points
        whole = blocks * self._block_points
        self._points = points[:, whole:].copy() if points.shape[1] > whole else None
        if not blocks:
            return []
        rows = points[:, :whole].reshape(self.channels, blocks, self._block_points)
        voice = rows[..., _LAG_POINTS:] - rows[..., :-_LAG_POINTS]
        total = voice[0] + voice[1]
        for channel in voice[2:]:
            total += channel
        # A row's sum does not depend on how many rows there are.
        of_sum, of_each = np.vecdot(total, total), np.vecdot(voice, voice)
        return [
            self._choice.take(block_sum, block_each)
            if sum(block_each) > self._floor
            else self._choice.current
            for block_sum, block_each in zip(of_sum.tolist(), of_each.T.tolist(), strict=True)
        ]

    def _render(self, mono: Pcm, planes: Pcm, start: int, end: int) -> None:
        """Put what was chosen in the mean's place; ``start`` to ``end`` lie within one block."""
        if self._before == self._now == MIX:
            return
        new = mono[start:end] if self._now == MIX else planes[self._now, start:end]
        if self._before != self._now:
            old = mono[start:end] if self._before == MIX else planes[self._before, start:end]
            new = old + (new - old) * self._ramp[self._at : self._at + end - start]
        mono[start:end] = new


def _mean(planes: Pcm) -> Pcm:
    mono: Pcm = planes[0] + planes[1]
    for channel in planes[2:]:
        mono += channel
    mono *= np.float32(1 / len(planes))
    return mono
