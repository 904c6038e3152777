"""Whether a signal's channels may be averaged, or cancel each other so that one must stand for all.

Pure policy: energies of short blocks in, a choice out.
"""

from __future__ import annotations

from collections.abc import Sequence

BLOCK_S = 0.04
MIX = -1
"""The choice of the mean of all channels; other choices are a channel's number."""

# Cancellation is |sum of the channels|² over the sum of their |x|²: 0 for opposite phase, 1 for
# unrelated channels and for channels of which all but one are silent, n for n equal ones.
_CANCELS = 0.25
_ADDS_UP = 0.5
_AS_LOUD = 0.8  # 1 dB
_FORGET = 0.6  # a block: energies are those of about the last 80 ms
# To leave a channel needs a second of loud blocks that add up, and none that cancels among them.
_BLOCKS_TO_MIX = round(1.0 / BLOCK_S)
_LOUD = 0.01  # of the loudest block within about the last ten seconds
_FORGET_LOUDEST = 0.996
# Another channel takes over where it is 12 dB louder, and not before this one had 0.2 s.
_FAINT = 1 / 16
_BLOCKS_TO_STAY = round(0.2 / BLOCK_S)


class ChannelChoice:
    """The choice for the next block, from all blocks so far.

    Entering a channel is quick, since the mean of channels that cancel holds no words. Leaving
    it is slow: one channel of a signal that does not cancel is seldom worse than the mean.
    """

    def __init__(self) -> None:
        self.current = MIX
        self._sum = 0.0  # energy of the channels' sum, lately
        self._total = 0.0  # of all channels, lately
        self._each = [0.0]  # of each channel, lately; only while one is chosen
        self._loudest = 0.0
        self._blocks_to_mix = 0
        self._blocks_here = 0

    def take(self, of_sum: float, of_each: Sequence[float]) -> int:
        """A block's energies, those of the channels' sum and of each channel: what comes next.

        Blocks of silence are better left out: what the dither of two channels does tells nothing.
        """
        total = sum(of_each)
        self._sum = _FORGET * self._sum + of_sum
        self._total = _FORGET * self._total + total
        self._loudest = max(_FORGET_LOUDEST * self._loudest, total)
        if self.current != MIX:
            self._reconsider(of_sum, of_each, total)
        elif self._sum < _CANCELS * self._total:
            self._each = list(of_each)
            self._enter(self._strongest())
        return self.current

    def _reconsider(self, of_sum: float, of_each: Sequence[float], total: float) -> None:
        self._each = [_FORGET * old + new for old, new in zip(self._each, of_each, strict=True)]
        self._blocks_here += 1
        if total >= _LOUD * self._loudest:
            if of_sum < _CANCELS * total:
                self._blocks_to_mix = 0
            elif of_sum > _ADDS_UP * total:
                self._blocks_to_mix += 1
        if self._blocks_to_mix >= _BLOCKS_TO_MIX:
            self._enter(MIX)
        elif self._blocks_here >= _BLOCKS_TO_STAY:
            strongest = self._strongest()
            if self._each[self.current] < _FAINT * self._each[strongest]:
                self._enter(strongest)

    def _strongest(self) -> int:
        """The first of those that are about as loud as the loudest."""
        least = _AS_LOUD * max(self._each)
        return next(channel for channel, energy in enumerate(self._each) if energy >= least)

    def _enter(self, choice: int) -> None:
        self.current = choice
        self._blocks_to_mix = self._blocks_here = 0


ChoicesByCount = dict[int, ChannelChoice]
"""A stream's choices by its number of channels, kept from one recording to the next: a microphone
that is wired wrongly stays so, and each recording may be shorter than a word."""
