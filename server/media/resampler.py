"""Sample-rate conversion that does not care where its input was cut."""

from __future__ import annotations

from fractions import Fraction

import av
import av.filter
import numpy as np
from av.audio.frame import AudioFrame

from engine.types import SAMPLE_RATE, Pcm

EMPTY: Pcm = np.zeros(0, dtype=np.float32)
EMPTY.flags.writeable = False
# FFmpeg keeps buffers as large as the largest frame that it saw, for as long as a graph lives.
_MAX_FRAME_SAMPLES = 4096


class Resampler:
    """Mono float32 at ``rate_hz`` to ``SAMPLE_RATE``, by libswresample.

    The same samples come out however the input is cut. The filter needs about 16 samples of
    output (1 ms) of the future; libswresample aligns output with input itself, so the only
    trace of this delay is that the last samples come with the next input or with ``flush``.

    The graph is built here, and not by ``av.AudioResampler``, because that starts a thread
    for each processor in every graph.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._graph: av.filter.Graph | None = None

    def feed(self, mono: Pcm) -> Pcm:
        """float32[n] at ``rate_hz`` to float32[m] at 16 kHz, within [-1, 1]."""
        if not len(mono):
            return EMPTY
        if self._rate_hz == SAMPLE_RATE:
            return mono.clip(-1.0, 1.0)
        if self._graph is None:
            self._graph = _open_graph(self._rate_hz)
        pieces: list[Pcm] = []
        for start in range(0, len(mono), _MAX_FRAME_SAMPLES):
            piece = mono[start : start + _MAX_FRAME_SAMPLES].reshape(1, -1)
            frame = AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate = self._rate_hz
            self._graph.push(frame)
            pieces += _drain(self._graph)
        return _join(pieces)

    def flush(self) -> Pcm:
        """The last samples. What is fed afterwards is a new signal."""
        if self._graph is None:
            return EMPTY
        graph, self._graph = self._graph, None
        graph.push(None)
        return _join(_drain(graph))


def _open_graph(rate_hz: int) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_abuffer(
        sample_rate=rate_hz, format="fltp", layout="mono", time_base=Fraction(1, rate_hz)
    )
    graph.link_nodes(source, graph.add("aresample", str(SAMPLE_RATE)), graph.add("abuffersink"))
    graph.configure()
    return graph


def _drain(graph: av.filter.Graph) -> list[Pcm]:
    pieces: list[Pcm] = []
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return pieces
        assert isinstance(frame, AudioFrame)
        pieces.append(frame.to_ndarray()[0])


def _join(pieces: list[Pcm]) -> Pcm:
    if not pieces:
        return EMPTY
    pcm = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
    return pcm.clip(-1.0, 1.0)
