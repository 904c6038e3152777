"""One session's hearing: frames in, windows of speech out. Pure: no thread, no model.

The lane feeds it frames with their speech probability and carries out what it returns: jobs for
the speech model and events for the session. Audio goes through in order, so a segment's end takes
effect after every frame that came before it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from engine import unheard
from engine.asr.agreement import Decode
from engine.asr.backend import Hypothesis
from engine.asr.guards import Verdict, retry
from engine.config import EngineSettings
from engine.errors import AsrFailed
from engine.job import Ask, job_of
from engine.language import SpokenLanguage
from engine.track import Track, quietest
from engine.turn import (
    CUT_SEARCH_S,
    NOT_KNOWN,
    PAUSE_CLOSES_FROM,
    Turn,
    Window,
)
from engine.types import (
    SAMPLE_RATE,
    Assumed,
    Failure,
    Pcm,
    SegmentEnded,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
)
from engine.vad.endpointer import FRAME_SAMPLES, Endpointer, EndpointerConfig, Started, Stopped
from engine.voiced import Voiced
from engine.work import Work

# A pause this long may be the end: what was said is decoded at once, so that when the end is
# declared, the transcript is there already.
_PAUSE_SAMPLES = SAMPLE_RATE // 5


@dataclass(frozen=True, slots=True)
class End:
    """The client's word that its segment is over, in its place among the audio."""

    at: float


class Slot:
    """State of one open session; ``vad_row`` is its row of the VAD model's state."""

    def __init__(
        self,
        key: int,
        vad_row: int,
        options: SessionOptions,
        settings: EngineSettings,
        decode: Decode,
    ) -> None:
        self.key = key
        self.vad_row = vad_row
        self.options = options
        self._settings = settings
        self._decode = decode
        self._window_samples = round(settings.window_s * SAMPLE_RATE)
        self._endpointer = Endpointer(EndpointerConfig.of(settings))
        self._track = Track()
        self._voiced = Voiced()
        self._waiting: deque[Pcm | End] = deque()
        self._language = SpokenLanguage(options)
        self._next_turn = 0
        self._cut_sample = 0  # speech before it went into an earlier window
        self._open = self._new_window()
        self._closed: deque[Window] = deque()  # in order; the head is being decoded
        self._undecoded_samples = 0
        self._assumed = NOT_KNOWN  # what was told of the open turn

    # ---- audio in -----------------------------------------------------------------------

    def put(self, item: Pcm | End) -> None:
        self._waiting.append(item)

    @property
    def blocked(self) -> bool:
        """So much speech waits for the model that no more is taken off the queue."""
        return self._undecoded_samples > self._settings.max_buffered_s * SAMPLE_RATE

    def take(self) -> tuple[int, End | None]:
        """Move audio from the queue to the track until a frame is whole or the segment ends.

        Returns the samples moved, and the end if that came first. The last frame before an end
        is filled up with silence, and heard before the end is returned.
        """
        moved = 0
        while self._waiting and not self.frame_ready and not self.blocked:
            item = self._waiting[0]
            if isinstance(item, End):
                missing = -(self._track.end - self._endpointer.now_sample) % FRAME_SAMPLES
                if not missing:
                    self._waiting.popleft()
                    return moved, item
                item = np.zeros(missing, np.float32)
            else:
                self._waiting.popleft()
                moved += len(item)
            self._track.append(item)
        return moved, None

    @property
    def frame_ready(self) -> bool:
        return self._track.end - self._endpointer.now_sample >= FRAME_SAMPLES

    def frame(self) -> Pcm:
        """The next 512 samples; ``heard`` must follow."""
        now = self._endpointer.now_sample
        return self._track.slice(now, now + FRAME_SAMPLES)

    # ---- what VAD says ------------------------------------------------------------------

    def heard(self, probability: float, now: float, idle: bool) -> Work:
        """Take a frame's speech probability; ``idle``: the speech model has nothing to do."""
        work = Work([])
        changed = self._endpointer.push(probability)
        self._voiced.add(self._endpointer.now_sample, probability)
        match changed:
            case Started(at_sample):
                at_s, turn_id = at_sample / SAMPLE_RATE, self._open.turn.turn_id
                work.events.append(SpeechStarted(self.key, turn_id, at_s))
            case Stopped() as stopped:
                self._stopped(stopped, work)
                if self.options.endpointing == "server":
                    work.events.append(SegmentEnded(self.key, self._open.turn.turn_id))
                    self._end(now, work)
                elif self._open.samples >= PAUSE_CLOSES_FROM * self._window_samples:
                    self._close_window()
                    self._decode_next(now, work)
        if self._growing_start is None and self._open.ended_long_before(
            self._endpointer.now_sample
        ):
            self._close_window(begins_anew=True)
            self._decode_next(now, work)
        if self._open.samples + self._growing_samples >= self._window_samples:
            self._cut(now, work)
        self._guess(now, idle, work)
        self._assume(work)
        self._forget(max(self._endpointer.keep_from_sample, self._cut_sample))
        return work

    def end(self, end: End, now: float) -> Work:
        """The client's segment is over."""
        work = Work([])
        stopped = self._endpointer.flush()
        if stopped is not None:
            self._stopped(stopped, work)
        self._end(end.at, work, now)
        self._forget(self._endpointer.now_sample)
        return work

    def _stopped(self, stopped: Stopped, work: Work) -> None:
        start = max(stopped.start_sample, self._cut_sample)
        if stopped.at_sample > start:
            self._keep(start, stopped.at_sample, stopped.speech_end_sample)
        at_s, turn_id = stopped.at_sample / SAMPLE_RATE, self._open.turn.turn_id
        work.events.append(SpeechStopped(self.key, turn_id, at_s))

    def _keep(self, start: int, end: int, until: int) -> None:
        """Audio ``[start, end)``, in which speech lasts ``until`` then, goes to the window."""
        self._open.add(self._track.slice(start, end), start, until, self._voiced.slice(start, end))

    def _forget(self, before: int) -> None:
        self._track.drop_before(before)
        self._voiced.drop_before(before)

    def _end(self, spoken_at: float, work: Work, now: float | None = None) -> None:
        """Close the turn; its transcript follows when all its windows are decoded."""
        self._open.turn.speech_end = spoken_at
        self._open.is_last = True
        self._closed.append(self._open)
        self._undecoded_samples += self._open.samples
        self._open = self._new_window()
        self._assumed = NOT_KNOWN
        self._decode_next(spoken_at if now is None else now, work)

    # ---- windows ------------------------------------------------------------------------

    def _new_window(self, turn: Turn | None = None, *, begins_anew: bool = False) -> Window:
        if turn is None:
            turn = Turn(self.key, self._next_turn)
            self._next_turn += 1
        return Window.open(turn, self._decode, begins_anew=begins_anew)

    @property
    def _growing_start(self) -> int | None:
        """Where the span starts that is still growing; None in silence."""
        if not self._endpointer.in_speech or self._endpointer.speech_start is None:
            return None
        return max(self._endpointer.speech_start, self._cut_sample)

    @property
    def _growing_samples(self) -> int:
        start = self._growing_start
        return 0 if start is None else self._endpointer.now_sample - start

    def _close_window(self, *, begins_anew: bool = False) -> None:
        """The turn goes on in a next window, with this one's text as its context unless that
        ``begins_anew``."""
        self._closed.append(self._open)
        self._undecoded_samples += self._open.samples
        self._open = self._new_window(self._open.turn, begins_anew=begins_anew)

    def _cut(self, now: float, work: Work) -> None:
        """The window is full: cut the growing span at the quietest place of its last seconds."""
        start = self._growing_start
        if start is not None:
            end = self._endpointer.now_sample
            search_from = max(start, end - round(CUT_SEARCH_S * SAMPLE_RATE))
            cut = search_from + quietest(self._track.slice(search_from, end))
            self._keep(start, cut, cut)
            self._cut_sample = cut
        self._close_window()
        self._decode_next(now, work)

    # ---- decoding -----------------------------------------------------------------------

    def _guess(self, now: float, idle: bool, work: Work) -> None:
        """Decode what was said so far: for a partial transcript, or since it may be all."""
        window = self._open
        start = self._growing_start
        until = self._endpointer.speech_end_sample
        if start is None or self._closed or work.submit is not None:
            return
        since = until - (window.asked.until_sample if window.asked else start)
        pausing = self._endpointer.now_sample - until >= _PAUSE_SAMPLES
        due = self.options.partials and since >= self._settings.partial_interval_s * SAMPLE_RATE
        again = pausing and since <= 0 and window.doubted
        if not (due or (pausing and idle and (since > 0 or again))):
            return
        end = self._endpointer.now_sample
        pcm = window.pcm(self._track.slice(start, end))
        frames = window.frames(self._voiced.slice(start, end))
        self._ask(window, pcm, frames, until, Ask(whole=pausing, full=again), now, work)

    def _ask(
        self, window: Window, pcm: Pcm, frames: Pcm, until: int, ask: Ask, now: float, work: Work
    ) -> None:
        ask = replace(ask, attend=self._settings.settle == "attention")
        job = job_of(window, pcm, frames, until, self.options, ask, now)
        window.pending = True
        window.asked = work.submit = self._language.ask(job, window)

    def _decode_next(self, now: float, work: Work) -> None:
        """Bring the oldest closed window to its end: without asking where nothing is to ask."""
        while self._closed:
            window = self._closed[0]
            asked, answered = window.asked, window.answered
            if asked is not None and asked.is_final:
                return
            if not window.samples or window.turn.failure is not None:
                self._finish(None, now, work)
            elif answered is not None and answered.job.until_sample == window.until_sample:
                self._finish(answered, now, work)
            elif window.pending and asked and asked.until_sample == window.until_sample:
                window.asked = work.promote = replace(asked, is_final=True)
                return
            else:
                pcm, frames = window.pcm(), window.frames()
                self._ask(window, pcm, frames, window.until_sample, Ask(final=True), now, work)
                return

    def answer(self, hypothesis: Hypothesis, verdict: Verdict, now: float) -> Work:
        """Take the speech model's result. One that nobody waits for any more is dropped."""
        work = Work([])
        job = hypothesis.job
        head = self._closed[0] if self._closed else None
        if head is not None and head.owns(job):
            if head.asked is not None and job.until_sample == head.asked.until_sample:
                self._settle(head, hypothesis, verdict, now, work)
        elif self._open.owns(job) and not job.is_final:
            self._partial(hypothesis, verdict, work)
        return work

    def _settle(
        self, head: Window, hypothesis: Hypothesis, verdict: Verdict, now: float, work: Work
    ) -> None:
        """The head's result: take it, or, where it was only a guess, ask with more care."""
        job = hypothesis.job
        poor = verdict is Verdict.RETRY and not job.is_final
        again = retry(replace(job, is_final=True)) if poor else None
        if again is not None:
            head.asked = work.submit = again
            return
        if hypothesis.error is not None:
            head.turn.failure = str(hypothesis.error)
        spoken = hypothesis.error is None and verdict is not Verdict.NO_SPEECH
        self._finish(hypothesis if spoken else None, now, work)
        self._decode_next(now, work)

    def _partial(self, hypothesis: Hypothesis, verdict: Verdict, work: Work) -> None:
        window = self._open
        settled = window.agreement.settled
        if window.asked is not None and hypothesis.job.until_sample == window.asked.until_sample:
            window.pending = False
        if verdict is not Verdict.KEEP or hypothesis.tokens[: len(settled)] != settled:
            return
        if window.knows_better(hypothesis):
            return
        window.answered = hypothesis
        self._language.partial(window, hypothesis)
        self._assume(work)
        if not self.options.partials:
            return
        # Near its end a window may be cut before the newest words: those are not settled in it.
        if len(hypothesis.job.pcm) < self._window_samples - CUT_SEARCH_S * SAMPLE_RATE:
            settled = window.agreement.update(
                hypothesis.tokens,
                hypothesis.job.seconds,
                hypothesis.token_logprobs,
                hypothesis.settled or 0,
            )
        before = window.turn.text
        text, stable = before + hypothesis.text, before + self._decode(settled)
        work.events.append(window.turn.transcript(text, stable, hypothesis.language))

    def _assume(self, work: Work) -> None:
        """Tell what the transcript will be, or that this is not known any more."""
        assumed = self._known_text(), NOT_KNOWN[1]
        if assumed == NOT_KNOWN and self._growing_start is not None and not self._closed:
            assumed = self._open.finished(self._endpointer.speech_end_sample)
        if assumed != self._assumed:
            self._assumed = assumed
            work.events.append(Assumed(self.key, self._open.turn.turn_id, *assumed))

    def _known_text(self) -> str:
        """The turn's transcript if nothing more is said; empty if it is not decoded so far."""
        window, until = self._open, self._open.until_sample
        if self._growing_start is not None:
            until = self._endpointer.speech_end_sample
            if self._endpointer.now_sample - until < _PAUSE_SAMPLES:
                return ""
        elif not window.samples and not self._closed:
            return window.turn.text.strip()
        answered = window.answered
        if self._closed or answered is None or answered.job.until_sample != until:
            return ""
        return (window.turn.text + answered.text).strip()

    def _finish(self, hypothesis: Hypothesis | None, now: float, work: Work) -> None:
        """The head is decoded (None: to nothing); after a turn's last window it is transcribed."""
        window = self._closed.popleft()
        turn = window.turn
        self._undecoded_samples -= window.samples
        hypothesis = window.better(hypothesis)
        if hypothesis is not None:
            if parts := unheard.cut(window, hypothesis, self._decode):
                self._undecoded_samples += sum(part.samples for part in parts)
                self._closed.extendleft(reversed(parts))
                return
            turn.take(hypothesis, window.words(hypothesis, self._decode))
            if hypothesis.text.strip():
                self._language.final(window, hypothesis)
        if window.is_last and turn.failure is not None:
            work.events.append(Failure(self.key, turn.turn_id, AsrFailed.code, turn.failure))
        elif window.is_last:
            queued_at = window.asked.queued_at if window.asked else None
            work.events.append(turn.final(turn.language or self._language.last, queued_at, now))

    # ---- going away ---------------------------------------------------------------------

    def cancel(self, turn_id: int, now: float) -> Work:
        """Stop decoding an ended turn; nothing more is said of it."""
        work = Work([])
        turn = next((w.turn for w in self._closed if w.turn.turn_id == turn_id), None)
        if turn is not None and turn is not self._open.turn:
            gone = [window for window in self._closed if window.turn is turn]
            self._undecoded_samples -= sum(window.samples for window in gone)
            self._closed = deque(window for window in self._closed if window.turn is not turn)
            self._decode_next(now, work)
        return work
