"""Whisper in torch behind the speech seam: what one job costs is what changed since the last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import FULL_CONTEXT_S, context_s, token_cap
from engine.errors import AntiphonError, AsrFailed
from engine.metrics import STAGE_SECONDS
from engine.types import SAMPLE_RATE
from engine.whisper.alignment import settled_tokens, token_times
from engine.whisper.encoder_thread import EncoderThread, ThreadedEncoding
from engine.whisper.features import Heard, features, hear
from engine.whisper.linear import ComputeType
from engine.whisper.model import WhisperModel
from engine.whisper.queued import QueuedEncoding
from engine.whisper.recent import Recent
from engine.whisper.row import RowRequest, RowResult
from engine.whisper.silence import SegmentEncoder, context_for
from engine.whisper.spec import FRAMES_PER_S
from kernels.queues import Queues

log = logging.getLogger(__name__)

_Window = tuple[int, int, int]  # key, turn, window

_DRAFTS = 4096
_ENCODE_BATCH = 16
"""Segments that a GPU encodes in one call at most: who comes next waits for all of it."""
_ENCODES_AHEAD = 2
"""Encoder passes in line at most: the next is there when one ends, and what waits longer waits
where a newer partial still replaces it."""


@dataclass(slots=True, eq=False)
class _Listening:
    """Jobs of one context length on their way through the encoder; None where one is cancelled."""

    jobs: list[AsrJob | None]
    encoding: ThreadedEncoding | QueuedEncoding

    def left(self) -> list[AsrJob]:
        return [job for job in self.jobs if job is not None]


class TorchWhisper:
    """An ``AsrBackend`` with continuous batching.

    A step encodes what waits, finals first, and then runs one decoder pass over all rows; jobs
    that finished come back, and the others go on in the next step, so call ``step`` while
    ``active``. Cancelled jobs do not come back. The last hypothesis of a window is the draft of
    its next one, and its features are extended, not computed again.

    The encoder works beside the decoder: rows join when it is done with them, and passes go on
    meanwhile. On a CPU it has a thread of its own (``threads`` counts both), a final goes before a
    partial at the next layer, and while a final is encoded the passes of partials wait. On a GPU it
    has a queue of its own. ``graphs=False`` runs a GPU's passes without CUDA graphs; ``queues`` is
    for tests.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        compute_type: ComputeType = "auto",
        threads: int = 0,
        slots: int = 16,
        *,
        graphs: bool = True,
        queues: Queues | None = None,
    ) -> None:
        self.name = f"torch/{folder.name}"
        if threads:
            torch.set_num_threads(threads)
        self._model = WhisperModel(
            folder, device, compute_type, slots, graphs=graphs, queues=queues
        )
        self._rows = self._model.continuous()
        self._threads = torch.get_num_threads()
        self._queues = self._model.queues
        self._encoder = EncoderThread(self._threads)
        self._segments = SegmentEncoder(self._model.encoder, self._model.decoder)
        # A CPU gains nothing from encoding two segments at once, and the first would wait.
        self._encode_batch = 1 if self._queues is None else min(slots, _ENCODE_BATCH)
        self._listening: list[_Listening] = []
        self._waiting: list[AsrJob] = []
        self._running: dict[int, AsrJob] = {}
        self._heard: Recent[_Window, Heard] = Recent(2 * slots)
        self._drafts: Recent[_Window, tuple[int, ...]] = Recent(_DRAFTS)

    @property
    def active(self) -> int:
        """Jobs that were submitted and have not come back."""
        return len(self._waiting) + self._in_encoder + len(self._running)

    def capacity(self, job: AsrJob) -> int:
        """What the next step can encode: others had better wait where they can be replaced."""
        if not job.is_final and not self._room_for_partials:
            return 0
        return max(0, min(self._encode_batch, self._free) - len(self._waiting))

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self._waiting.extend(jobs)
        self._sort_waiting()

    def promote(self, job: AsrJob) -> None:
        """A final's encoder pass goes first, and its row never rests while others are encoded."""
        self._waiting = [job if each.number == job.number else each for each in self._waiting]
        self._sort_waiting()
        for listening in self._listening:
            if any(each.number == job.number for each in listening.left()):
                listening.encoding.hurry()
                listening.jobs = [
                    job if each is not None and each.number == job.number else each
                    for each in listening.jobs
                ]
        for slot, running in self._running.items():
            if running.number == job.number:
                self._running[slot] = job

    def _sort_waiting(self) -> None:
        self._waiting.sort(key=lambda job: not job.is_final)  # stable: oldest first in each kind

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        """Forget jobs, free their slots, and drop what was kept for their windows."""

        def gone(window: _Window) -> bool:
            return window[0] == key and turn_id in (None, window[1])

        self._waiting = [job for job in self._waiting if not gone(_window(job))]
        for listening in self._listening:
            listening.jobs = [
                None if job is None or gone(_window(job)) else job for job in listening.jobs
            ]
            if not listening.left():
                listening.encoding.drop()
        self._listening = [listening for listening in self._listening if listening.left()]
        for slot, running in list(self._running.items()):
            if gone(_window(running)):
                del self._running[slot]
                self._rows.leave(slot)
        self._heard.forget(gone)
        self._drafts.forget(gone)

    @torch.inference_mode()
    def step(self) -> list[Hypothesis]:
        """Encode what may begin, then one decoder pass; the jobs that finished in it.

        On a GPU the host waits for the device once at most: for the pass, or for the encoder
        where there is no pass.
        """
        failed = self._admit()
        if self._at_rest:
            failed += self._begin()
            self._share_threads()
            return failed + self._rest()
        try:
            with STAGE_SECONDS.labels("asr_decode").time():
                self._rows.launch()
                failed += self._begin()  # while the device is busy with the pass
                self._share_threads()
                finished = self._rows.collect()
        except (RuntimeError, ValueError) as error:
            return failed + self._abandon(error)
        return failed + [self._finish(slot, result) for slot, result in finished]

    def decode(self, tokens: Sequence[int]) -> str:
        return self._model.tokens.decode(tokens)

    def warmup(self) -> None:
        """Graphs, where there are any, and one second of silence through everything, so that the
        first speaker does not wait."""
        with torch.inference_mode():
            self._rows.prepare()
            if self._queues is None:
                self._segments.warmup()
        silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
        self.submit([AsrJob(-1, 0, 0, silence, is_final=True)])
        while self.active:
            self.step()
        self.cancel(-1, 0)

    def close(self) -> None:
        """Forget every job; the weights go with the object."""
        self._encoder.close()
        self._waiting.clear()
        self._listening.clear()
        for slot in list(self._running):
            self._rows.leave(slot)
        self._running.clear()

    @property
    def _in_encoder(self) -> int:
        return sum(len(listening.left()) for listening in self._listening)

    @property
    def _free(self) -> int:
        """Slots that nobody has and nobody in the encoder is going to need."""
        return self._rows.free - self._in_encoder

    @property
    def _room_for_finals(self) -> bool:
        return len(self._listening) < _ENCODES_AHEAD

    @property
    def _room_for_partials(self) -> bool:
        """A partial is encoded where nobody else is."""
        return not self._listening

    @property
    def _at_rest(self) -> bool:
        """Whether no pass is worth its while: on a CPU partials wait while a final is encoded."""
        if self._queues is not None or not self._running:
            return not self._running
        encoded = any(job.is_final for each in self._listening for job in each.left())
        return encoded and not any(running.is_final for running in self._running.values())

    def _share_threads(self) -> None:
        """A CPU's threads: all for the encoder where no pass is run, else all but one."""
        self._encoder.go_beside(not self._at_rest)
        torch.set_num_threads(max(1, self._threads - bool(self._listening)))

    # ---- begin --------------------------------------------------------------------------

    def _admit(self) -> list[Hypothesis]:
        """Take what has been encoded; returns the jobs that failed."""
        waiting = [each for each in self._listening if self._may_join(each)]
        return [failure for each in waiting for failure in self._go_on(each)]

    def _may_join(self, listening: _Listening) -> bool:
        """On a CPU a partial with its draft makes a pass long: not while finals wait for theirs."""
        if self._queues is not None or any(job.is_final for job in listening.left()):
            return True
        return not any(job.is_final for job in self._running.values())

    def _begin(self) -> list[Hypothesis]:
        """Put what may be encoded now in the encoder's line; returns the jobs that failed."""
        batch = self._next_batch()
        if not batch:
            return []
        try:
            self._listening.append(_Listening([*batch], self._encode(batch)))
        except (RuntimeError, ValueError) as error:
            return [self._failure(job, error) for job in batch]
        return []

    def _rest(self) -> list[Hypothesis]:
        """No pass is run: on a GPU sleep until the encoder is done with one, on a CPU help it."""
        for listening in self._listening[:1]:
            try:
                listening.encoding.wait()
            except RuntimeError as error:
                return self._give_up(listening, error)
        return []

    def _go_on(self, listening: _Listening) -> list[Hypothesis]:
        """Give slots to what was being encoded, if it is done."""
        try:
            if listening.encoding.advance():
                return []
            self._listening.remove(listening)
            STAGE_SECONDS.labels("asr_encode").observe(listening.encoding.spent_s)
            return self._join_all(listening)
        except (RuntimeError, ValueError) as error:
            return self._give_up(listening, error)

    def _give_up(self, listening: _Listening, error: Exception) -> list[Hypothesis]:
        self._listening = [each for each in self._listening if each is not listening]
        return [self._failure(job, error) for job in listening.left()]

    def _join_all(self, listening: _Listening) -> list[Hypothesis]:
        """Give each job its slot; returns those that cannot be decoded."""
        joined = zip(listening.jobs, listening.encoding.finish(), strict=True)
        failed = [self._join(job, states) for job, states in joined if job is not None]
        return [hypothesis for hypothesis in failed if hypothesis is not None]

    def _join(self, job: AsrJob, states: torch.Tensor) -> Hypothesis | None:
        """Give a job its slot; what went wrong, if it cannot be decoded."""
        try:
            slot = self._rows.join(self._request(job), states)
        except (AntiphonError, RuntimeError, ValueError) as error:
            return self._failure(job, error)
        self._running[slot] = job
        return None

    def _next_batch(self) -> list[AsrJob]:
        """Waiting jobs of the first one's kind and length; no partial while a final decodes."""
        if not self._waiting or self._free <= 0:
            return []
        first = self._waiting[0]
        if not (self._room_for_finals if first.is_final else self._room_for_partials):
            return []
        alike = [
            job
            for job in self._waiting
            if job.is_final == first.is_final and _context(job) == _context(first)
        ]
        batch = alike[: min(self._encode_batch, self._free)]
        taken = {id(job) for job in batch}
        self._waiting = [job for job in self._waiting if id(job) not in taken]
        return batch

    def _encode(self, jobs: Sequence[AsrJob]) -> ThreadedEncoding | QueuedEncoding:
        if self._queues is None:
            return self._encode_segment(*jobs)
        frames = context_s(jobs[0].seconds, jobs[0].full_context) * FRAMES_PER_S
        mel = torch.stack([features(self._hear(job), frames) for job in jobs])
        return QueuedEncoding(self._model.encoder, mel, self._model.device, self._queues)

    def _encode_segment(self, job: AsrJob) -> ThreadedEncoding:
        """On a CPU: silence after the speech comes from the cache."""
        context = context_for(job.seconds, job.full_context)
        mel = features(self._hear(job), (context or FULL_CONTEXT_S) * FRAMES_PER_S)
        seconds = None if context is None else job.seconds
        return self._encoder.begin(partial(self._segments.begin, mel, seconds), urgent=job.is_final)

    def _hear(self, job: AsrJob) -> Heard:
        window = _window(job)
        heard = hear(job.pcm, self._model.spec.n_mels, self._heard.get(window))
        self._heard.put(window, heard)
        return heard

    def _request(self, job: AsrJob) -> RowRequest:
        return RowRequest(
            max_tokens=token_cap(job.seconds),
            language=job.language,
            languages=job.languages,
            last_language=job.last_language,
            task=job.task,
            previous=tuple(self._model.tokens.previous(job.prompt, job.context, job.hotwords)),
            previous_anew=tuple(self._model.tokens.previous(job.prompt, "", job.hotwords))
            if job.context
            else (),
            prefix=job.prefix,
            draft=self._draft(job),
            temperature=job.temperature,
            align=job.align or job.attend,
            align_below=job.align_below,
            seed=hash((*_window(job), job.attempt)) & 0x7FFFFFFF,
        )

    def _draft(self, job: AsrJob) -> tuple[int, ...]:
        """The last hypothesis after the prefix, if it begins with it."""
        last = self._drafts.get(_window(job)) or ()
        return last[len(job.prefix) :] if last[: len(job.prefix)] == job.prefix else ()

    # ---- end ----------------------------------------------------------------------------

    def _finish(self, slot: int, result: RowResult) -> Hypothesis:
        job = self._running.pop(slot)
        self._drafts.put(_window(job), result.tokens)
        attention, seconds = result.attention, job.seconds
        timed = job.align or len(result.tokens) < job.align_below  # not where only ``attend`` asks
        return Hypothesis(
            token_times=token_times(attention, seconds) if attention is not None and timed else (),
            settled=_settled(attention, seconds) if attention is not None and job.attend else None,
            job=job,
            tokens=result.tokens,
            text=self.decode(result.tokens),
            language=result.language,
            language_probability=result.language_probability,
            avg_logprob=result.avg_logprob,
            token_logprobs=result.log_probabilities,
            no_speech_prob=result.no_speech_prob,
        )

    def _abandon(self, error: Exception) -> list[Hypothesis]:
        """Fail every row at work: their caches cannot be trusted any more."""
        lost = [self._failure(running, error) for running in self._running.values()]
        for slot in self._running:
            self._rows.leave(slot)
        self._running.clear()
        return lost

    def _failure(self, job: AsrJob, error: Exception) -> Hypothesis:
        who = f"session {job.key} turn {job.turn_id}"
        log.warning("%s: a segment of %.1f s failed: %s", who, job.seconds, error)
        failure = AsrFailed(f"{self.name} failed on a segment: {error}")
        return Hypothesis(job, error=failure)


def _settled(attention: torch.Tensor, seconds: float) -> int:
    return settled_tokens(attention[:, :-1], seconds)


def _window(job: AsrJob) -> _Window:
    return job.key, job.turn_id, job.window


def _context(job: AsrJob) -> int:
    """Jobs of one context length can be encoded in one call."""
    return context_s(job.seconds, job.full_context)
