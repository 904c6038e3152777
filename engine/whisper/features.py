"""Log-mel features of a growing segment, each frame computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.metrics import MEL_FRAMES
from engine.types import Pcm
from kernels.log_mel import HALF_WINDOW, HOP, SILENCE, log_mel_frames, normalise


@dataclass(frozen=True, slots=True)
class Heard:
    """Audio, and the raw log-mel frames ``[bins, n]`` that no later audio can change."""

    pcm: Pcm
    frames: Tensor


def hear(pcm: Pcm, bins: int, earlier: Heard | None = None) -> Heard:
    """Frames of ``pcm`` whose 400 samples have all arrived; those of ``earlier`` are reused.

    ``earlier`` is ignored unless its audio is the begin of ``pcm``. The signal is mirrored
    before its begin, as in OpenAI's Whisper.
    """
    if earlier is None or not _continues(pcm, earlier.pcm):
        earlier = Heard(pcm[:0], torch.empty(bins, 0))
    known = earlier.frames.shape[1]
    total = max(0, (len(pcm) - HALF_WINDOW) // HOP + 1)
    if len(pcm) <= HALF_WINDOW or total <= known:
        return Heard(pcm, earlier.frames)
    MEL_FRAMES.inc(total - known)
    fresh = log_mel_frames(_signal(pcm, known, total)[None], bins, centre=False)[0]
    return Heard(pcm, torch.cat([earlier.frames, fresh], 1))


def features(heard: Heard, frames: int) -> Tensor:
    """The encoder's input ``[frames, bins]``: silence after the audio, then Whisper's clamp."""
    bins, known = heard.frames.shape
    ending = -(-(len(heard.pcm) + HALF_WINDOW) // HOP)  # the first frame that hears no audio
    ending = max(known, min(ending, frames))
    parts = [heard.frames]
    if ending > known:
        signal = _signal(heard.pcm, known, ending)
        parts.append(log_mel_frames(signal[None], bins, centre=False)[0])
    raw = pad(torch.cat(parts, 1)[:, :frames], (0, max(0, frames - ending)), value=SILENCE)
    return normalise(raw[None])[0].T


def _continues(pcm: Pcm, earlier: Pcm) -> bool:
    return len(pcm) >= len(earlier) and np.array_equal(pcm[: len(earlier)], earlier)


def _signal(pcm: Pcm, first: int, end: int) -> Tensor:
    """The samples of frames ``[first, end)``: mirrored before the audio, zero after it."""
    begin, stop = first * HOP - HALF_WINDOW, (end - 1) * HOP + HALF_WINDOW
    if begin >= 0:
        inside = torch.from_numpy(pcm[begin:stop])
        return pad(inside, (0, stop - begin - len(inside)))
    # the mirror of sample -200 is sample 200, which a first frame does not itself hold
    inside = torch.from_numpy(pcm[: max(stop, 1 - begin)])
    inside = pad(inside, (0, max(stop, 1 - begin) - len(inside)))
    return torch.cat([inside[1 : 1 - begin].flip(0), inside[:stop]])
