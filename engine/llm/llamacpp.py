"""llama.cpp in this process (xllamacpp): one slot for each reply, continuous batching inside.

A request blocks one thread of a pool inside the library, which lets go of the interpreter's
lock; its callback says, at each chunk, whether to go on. All else happens on the lane's thread.
llama.cpp shows text only up to the last whole character, so a delta never cuts one.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xllamacpp

from engine.config import EngineSettings
from engine.errors import LlmFailed, ModelError
from engine.llm.backend import Wake
from engine.llm.chunk_error import Overflow
from engine.llm.chunks import parse
from engine.llm.gguf_tokens import special_tokens
from engine.llm.marks import Marks
from engine.llm.prompt import Messages, estimate_tokens, fit, opening, shrink, too_long
from engine.llm.slots import Slots
from engine.llm.usage import count
from engine.metrics import STAGE_SECONDS
from engine.types import Failure, GenerateRequest, LlmEvent, ResponseDelta

# A prompt is computed in pieces of this many tokens: between them other replies advance and a
# cancel is noticed. On two cores a prompt of 100 tokens takes 235 ms in pieces of 32 and 216 in
# pieces of 128; but with four sessions that cut in by voice, a reply ended in half the time at p95.
_PROMPT_CHUNK_TOKENS = 32

# Where turns have left the front of a prompt, later ones this long are moved in the cache instead
# of computed again. They were computed in sight of what left, so only for the session itself.
_REUSE_TOKENS = 32

# llama.cpp's LLAMA_DEFAULT_SEED: it takes one of its own.
_ANY_SEED = 0xFFFFFFFF


@dataclass(slots=True, eq=False)
class _Run:
    """One request on its way through the library."""

    request: GenerateRequest
    slot: int
    returning: bool = False
    cancelled_at: float | None = None
    overflow: Overflow | None = None

    @property
    def id(self) -> tuple[int, int]:
        return self.request.key, self.request.turn_id

    @property
    def cancelled(self) -> bool:
        return self.cancelled_at is not None


class LlamaCpp:
    """An ``LlmBackend``. The constructor loads the model and raises ``ModelError``."""

    def __init__(self, settings: EngineSettings, model: Path, wake: Wake) -> None:
        self.name = f"llamacpp/{model.stem}"
        self._settings = settings
        self._wake = wake
        self._slots = Slots(settings.llm_slots)
        self._runs: dict[tuple[int, int], _Run] = {}
        self._news: deque[tuple[_Run, LlmEvent]] = deque()
        # A cancelled request may hold its thread a little longer than its slot.
        self._threads = ThreadPoolExecutor(2 * settings.llm_slots, "llamacpp")
        try:
            self._server: Any = xllamacpp.Server(_params(settings, model))
        except RuntimeError as error:
            raise ModelError(f"llama.cpp cannot load {model}: {error}") from error
        self._marks = Marks(special_tokens(model))

    @property
    def free(self) -> int:
        return self._slots.free

    @property
    def busy(self) -> bool:
        return False

    @property
    def problem(self) -> str | None:
        return None

    def submit(self, request: GenerateRequest) -> None:
        run = _Run(request, *self._slots.take(request.key))
        assert run.id not in self._runs
        self._runs[run.id] = run
        future = self._threads.submit(self._serve, run)
        future.add_done_callback(lambda done: self._served(run, done))

    def cancel(self, key: int, turn_id: int) -> None:
        run = self._runs.get((key, turn_id))
        if run is not None and not run.cancelled:
            run.cancelled_at = time.monotonic()
            # The library lets go at its next chunk; nobody need wait for that. Whatever it
            # still says finds the run ended, and llama.cpp lets a next request for the slot wait.
            self._tell(run, ResponseDelta(key, turn_id, "", "cancelled"))

    def forget(self, key: int) -> None:
        self._slots.forget(key)

    def step(self) -> list[LlmEvent]:
        events: list[LlmEvent] = []
        while self._news:
            run, event = self._news.popleft()
            if self._runs.get(run.id) is not run:
                continue
            events.append(event)
            if isinstance(event, Failure) or event.finish_reason is not None:
                del self._runs[run.id]
                self._slots.give_back(run.slot)
        return events

    def warmup(self) -> None:
        """Compute the system prompt in every slot, so that first replies find it cached."""
        messages = opening(self._settings.system, "Hello.")
        for slot in range(self._settings.llm_slots):
            run = _Run(GenerateRequest(-1, slot, messages, max_tokens=1), slot)
            self._attempt(run, messages)
            if run.overflow is not None:
                told = too_long(run.overflow.prompt_tokens, run.overflow.context_tokens)
                raise ModelError(f"{told}: shorten `system`, or raise `llm_context_tokens`")
        news, self._news = self._news, deque()
        for _, event in news:
            if isinstance(event, Failure):
                raise ModelError(f"{self.name} cannot answer: {event.message}")

    def close(self) -> None:
        for run in self._runs.values():
            run.cancelled_at = time.monotonic()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._server = None

    # ---- on a thread of the pool -----------------------------------------------------------

    def _serve(self, run: _Run) -> None:
        context = self._settings.llm_context_tokens
        reply = min(run.request.max_tokens, context // 2)
        harmless = self._marks.break_in(run.request.messages)
        messages: Messages | None = fit(harmless, context - reply)
        while messages is not None and not run.cancelled:
            run.overflow = None
            self._attempt(run, messages)
            if run.overflow is None:
                return
            tokens, context = run.overflow.sizes(estimate_tokens(messages))
            messages = shrink(messages, tokens, context - min(reply, context // 2))

    def _attempt(self, run: _Run, messages: Messages) -> None:
        self._server.handle_chat_completions(
            _body(run, messages),
            lambda raw: self._hear(run, raw),
        )

    def _hear(self, run: _Run, raw: str) -> bool:
        """Take one chunk; True stops the request. xllamacpp swallows what is raised here."""
        chunk = parse(raw)
        if chunk.error is not None and chunk.error.overflow is not None:
            run.overflow = chunk.error.overflow
        elif chunk.error is not None:
            self._fail(run, chunk.error.message)
        elif chunk.text or chunk.finish_reason:
            self._tell(run, ResponseDelta(*run.id, chunk.text, chunk.finish_reason))
        if chunk.usage is not None:
            count(chunk.usage)
        return run.cancelled

    def _served(self, run: _Run, done: Future[None]) -> None:
        """The library has let go: if it has not said how the reply ended, that is an error."""
        if run.cancelled_at is not None:
            STAGE_SECONDS.labels("llm_cancel").observe(time.monotonic() - run.cancelled_at)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._fail(run, str(error))
        elif run.overflow is not None:
            self._fail(run, too_long(run.overflow.prompt_tokens, run.overflow.context_tokens))
        else:
            self._fail(run, "the model stopped without ending its reply")

    def _fail(self, run: _Run, message: str) -> None:
        self._tell(run, Failure(*run.id, LlmFailed.code, message))

    def _tell(self, run: _Run, event: LlmEvent) -> None:
        self._news.append((run, event))
        self._wake()


def _params(settings: EngineSettings, model: Path) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel = settings.llm_slots
    params.n_ctx = settings.llm_slots * settings.llm_context_tokens  # shared out over the slots
    params.n_batch = params.n_ubatch = max(_PROMPT_CHUNK_TOKENS, settings.llm_slots)
    params.cache_ram_mib = 0  # its default keeps up to 8 GiB of old prompts
    params.fit_params = False  # or it would change the context to fit the memory it finds
    if settings.device == "cpu":
        params.n_gpu_layers = 0
    threads = settings.threads or len(os.sched_getaffinity(0))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Threads that wait by spinning take the cores from speech.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    # It opens a port on the loopback, whether wanted or not: nobody has its key.
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [secrets.token_urlsafe(32)]
    params.n_threads_http = 1
    params.ui = params.endpoint_slots = params.endpoint_props = False
    params.verbosity = 0  # errors come to us as chunks
    return params


def _body(run: _Run, messages: Messages) -> str:
    sampling = run.request.sampling
    return json.dumps(
        {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": run.request.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop": sampling.stop,
            "seed": _ANY_SEED if sampling.seed is None else sampling.seed,
            "id_slot": run.slot,
            "cache_prompt": True,
            # What a model thinks first nobody is to hear, and nobody is to wait for.
            "chat_template_kwargs": {"enable_thinking": False},
            "n_cache_reuse": _REUSE_TOKENS if run.returning else 0,
            "stream": True,
            # A chunk after each piece of the prompt: a chance to cancel.
            "return_progress": True,
        }
    )
