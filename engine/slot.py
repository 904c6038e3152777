"""One session's hearing: frames in, windows of speech out. Pure: no thread, no model.

The lane feeds it frames with their speech probability and carries out what it returns: jobs for
the speech model and events for the session. Audio goes through in order, so a segment's end takes
effect after every frame that came before it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from engine import unheard
from engine.asr.agreement import Decode
from engine.asr.backend import Hypothesis
from engine.asr.guards import Verdict, retry
from engine.config import EngineSettings
from engine.errors import AsrFailed
from engine.frames import End, FrameQueue
from engine.job import Ask, job_of
from engine.language import SpokenLanguage
from engine.track import quietest
from engine.turn import CUT_SEARCH_S, NOT_KNOWN, PAUSE_CLOSES_FROM, Turn, Window, WindowStatus
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
from engine.vad.endpointer import Endpointer, EndpointerConfig, Started, Stopped
from engine.voiced import Voiced
from engine.work import CancelJobs, Promote, Submit, Work

# A pause this long may be the end: what was said is decoded at once, so that when the end is
# declared, the transcript is there already.
_PAUSE_SAMPLES = SAMPLE_RATE // 5


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
        self.audio = FrameQueue()
        self._track = self.audio.track
        self._voiced = Voiced()
        self._cancelled: set[int] = set()  # later turns whose ends still wait
        self._language = SpokenLanguage(options)
        self._next_turn = 0
        self._cut_sample = 0  # speech before it went into an earlier window
        self._open = self._new_window()
        self._closed: deque[Window] = deque()  # in order; the head is being decoded
        self._undecoded_samples = 0
        self._assumed = NOT_KNOWN  # what was told of the open turn

    # ---- audio in -----------------------------------------------------------------------

    def put(self, item: Pcm | End) -> None:
        self.audio.put(item)

    @property
    def blocked(self) -> bool:
        """So much speech waits for the model that no more is taken off the queue."""
        return self._undecoded_samples > self._settings.max_buffered_s * SAMPLE_RATE

    def take(self) -> tuple[int, End | None]:
        """Bring the next frame forward: the samples that it took, and the end that came first."""
        return (0, None) if self.blocked else self.audio.take()

    @property
    def frame_ready(self) -> bool:
        return self.audio.frame_ready

    def frame(self) -> Pcm:
        """The next 512 samples; ``heard`` must follow."""
        return self.audio.frame()

    # ---- what VAD says ------------------------------------------------------------------

    def heard(self, probability: float, now: float, idle: bool) -> Work:
        """Take a frame's speech probability; ``idle``: the speech model has nothing to do."""
        work = Work()
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
            self._close_window()
            self._decode_next(now, work)
        if self._open.samples + self._growing_samples >= self._window_samples:
            self._cut(now, work)
        self._guess(now, idle, work)
        self._assume(work)
        self._forget(max(self._endpointer.keep_from_sample, self._cut_sample))
        return work

    def end(self, now: float) -> Work:
        """The client's segment is over."""
        work = Work()
        stopped = self._endpointer.flush()
        if stopped is not None:
            self._stopped(stopped, work)
        self._end(now, work)
        at_sample = self.audio.resume()
        self._endpointer.reset(at_sample)
        self._voiced.clear()
        self._cut_sample = min(self._cut_sample, at_sample)
        return work

    def _stopped(self, stopped: Stopped, work: Work) -> None:
        start = max(stopped.start_sample, self._cut_sample)
        stop = min(stopped.at_sample, self.audio.heard_until)
        if stop > start:
            self._keep(start, stop, stopped.speech_end_sample)
        at_s, turn_id = stop / SAMPLE_RATE, self._open.turn.turn_id
        work.events.append(SpeechStopped(self.key, turn_id, at_s))

    def _keep(self, start: int, end: int, until: int) -> None:
        """Audio ``[start, end)``, in which speech lasts ``until`` then, goes to the window."""
        self._open.add(self._track.slice(start, end), start, until, self._voiced.slice(start, end))

    def _forget(self, before: int) -> None:
        self._track.drop_before(before)
        self._voiced.drop_before(before)

    def _end(self, now: float, work: Work) -> None:
        """Close the turn; its transcript follows when all its windows are decoded."""
        self._open.is_last = True
        self._queue(self._open)
        self._open = self._new_window()
        self._assumed = NOT_KNOWN
        self._decode_next(now, work)

    # ---- windows ------------------------------------------------------------------------

    def _new_window(self, turn: Turn | None = None) -> Window:
        if turn is None:
            turn_id = self._next_turn
            turn = Turn(self.key, turn_id, cancelled=turn_id in self._cancelled)
            self._cancelled.discard(turn_id)
            self._next_turn += 1
        return Window.open(turn, self._decode)

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

    def _close_window(self) -> None:
        """The turn goes on in a next window, with this one's text as its context."""
        self._queue(self._open)
        self._open = self._new_window(self._open.turn)

    def _queue(self, window: Window) -> None:
        """A closed window waits to be decoded, unless nobody wants its turn any more."""
        if not window.turn.cancelled:
            self._closed.append(window)
            self._undecoded_samples += window.samples

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
        if start is None or self._closed or work.orders or window.turn.cancelled:
            return
        asked = window.asked
        since = until - (asked.until_sample if asked else start)
        fit = since <= 0 and asked is not None and asked.stands_in
        pausing = self._endpointer.now_sample - until >= _PAUSE_SAMPLES
        due = self.options.partials and since >= self._settings.partial_interval_s * SAMPLE_RATE
        again = pausing and fit and window.doubted
        # Where partials are on, what was said before a pause goes ahead of other partials: it is
        # the likeliest to stand for a final, and costs no more than the partial that it replaces.
        ahead = self.options.partials and since > 0
        if not (due or (pausing and ((idle and (again or not fit)) or ahead))):
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
        window.status = WindowStatus.FINALIZING if ask.final else WindowStatus.SPECULATING
        window.asked = self._language.ask(job, window)
        work.orders.append(Submit(window.asked))

    def _decode_next(self, now: float, work: Work) -> None:
        """Bring the oldest closed window to its end: without asking where nothing is to ask."""
        while self._closed:
            window = self._closed[0]
            asked, answered = window.asked, window.answered
            if window.status is WindowStatus.FINALIZING:
                return
            if not window.samples or window.turn.failure is not None:
                self._finish(None, work)
            elif answered is not None and window.may_end_with(answered.job):
                self._finish(answered, work)
            elif asked is not None and window.awaits(asked) and window.may_end_with(asked):
                window.status = WindowStatus.FINALIZING
                window.asked = replace(asked, is_final=True, queued_at=now)
                work.orders.append(Promote(window.asked))
                return
            else:
                pcm, frames = window.pcm(), window.frames()
                self._ask(window, pcm, frames, window.until_sample, Ask(final=True), now, work)
                return

    def answer(self, hypothesis: Hypothesis, verdict: Verdict, now: float) -> Work:
        """Take the speech model's result. One that nobody waits for any more is dropped."""
        work = Work()
        job = hypothesis.job
        head = self._closed[0] if self._closed else None
        if head is not None and head.awaits(job):
            self._settle(head, hypothesis, verdict, now, work)
        elif self._open.owns(job) and not self._open.turn.cancelled:
            self._partial(hypothesis, verdict, work)
        return work

    def _settle(
        self, head: Window, hypothesis: Hypothesis, verdict: Verdict, now: float, work: Work
    ) -> None:
        """The head's result: take it, or, where it was only a guess, ask with more care."""
        job = hypothesis.job
        poor = verdict is Verdict.RETRY and not job.is_final
        settled = head.agreement.settled  # more than the job knew of, if a result came meanwhile
        again = retry(replace(job, is_final=True, prefix=settled)) if poor else None
        if again is not None:
            head.asked = again
            work.orders.append(Submit(again))
            return
        if hypothesis.error is not None:
            head.turn.failure = str(hypothesis.error)
        spoken = hypothesis.error is None and verdict is not Verdict.NO_SPEECH
        if spoken and job.prefix != settled and not head.keeps_settled(hypothesis):
            head.status, head.asked = WindowStatus.OPEN, None  # words became stable since it asked
        else:
            self._finish(hypothesis if spoken else None, work)
        self._decode_next(now, work)

    def _partial(self, hypothesis: Hypothesis, verdict: Verdict, work: Work) -> None:
        window = self._open
        settled = window.agreement.settled
        if window.awaits(hypothesis.job):
            window.status = WindowStatus.OPEN
        if verdict is not Verdict.KEEP or not window.keeps_settled(hypothesis):
            return
        if window.knows_better(hypothesis) or window.heard_more_than(hypothesis):
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
        if self._open.turn.cancelled:
            return
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
        if self._closed or answered is None or not answered.job.stands_in:
            return ""
        if answered.job.until_sample != until:
            return ""
        return (window.turn.text + answered.text).strip()

    def _finish(self, hypothesis: Hypothesis | None, work: Work) -> None:
        """The head is decoded (None: to nothing); after a turn's last window it is transcribed."""
        window = self._closed.popleft()
        turn = window.turn
        self._undecoded_samples -= window.samples
        hypothesis = window.promised(window.better(hypothesis), self._decode)
        if hypothesis is not None:
            if parts := unheard.cut(window, hypothesis, self._decode):
                self._language.whole(hypothesis)
                self._undecoded_samples += sum(part.samples for part in parts)
                self._closed.extendleft(reversed(parts))
                return
            turn.take(hypothesis, window.words(hypothesis, self._decode))
            if hypothesis.text.strip():
                self._language.final(window, hypothesis)
        if window.is_last and turn.failure is not None:
            work.events.append(Failure(self.key, turn.turn_id, AsrFailed.code, turn.failure))
        elif window.is_last:
            work.events.append(turn.final(turn.language or self._language.last))

    # ---- going away ---------------------------------------------------------------------

    def cancel(self, turn_id: int, now: float) -> Work:
        """Stop decoding a turn that has ended, or whose end still waits behind audio.

        Nothing more is said of it, and its place in the order of the ends stays.
        """
        work = Work()
        turn, ahead = self._open.turn, turn_id - self._open.turn.turn_id
        if ahead >= self.audio.ends:
            return work  # nobody has ended it
        if ahead > 0:
            self._cancelled.add(turn_id)
            return work
        if ahead == 0:
            turn.cancelled = True
            self._open.status, self._open.answered = WindowStatus.OPEN, None
        gone = [window for window in self._closed if window.turn.turn_id == turn_id]
        if gone or ahead == 0:
            work.orders.append(CancelJobs(self.key, turn_id))
        self._undecoded_samples -= sum(window.samples for window in gone)
        self._closed = deque(w for w in self._closed if w.turn.turn_id != turn_id)
        self._decode_next(now, work)
        return work

    def close(self) -> Work:
        """The session is over: nothing of it is decoded any more."""
        return Work(orders=[CancelJobs(self.key, None)])
