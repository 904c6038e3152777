"""Replies from any OpenAI-compatible server: vLLM, SGLang, TensorRT-LLM, TabbyAPI, llama.cpp, …

Requests run as tasks of an event loop on a thread of its own; all else happens on the lane's
thread. The server counts as healthy while it really answers, because a hung engine can still list
its models. It need not be there when this one starts: engines take minutes to load their models.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any, TypeVar

from engine.config import EngineSettings
from engine.errors import LlmFailed, ModelError
from engine.llm.backend import Wake
from engine.llm.openai_http import AttemptFailed, OpenAiHttp
from engine.llm.openai_reply import Reply, body
from engine.llm.prompt import opening
from engine.metrics import STAGE_SECONDS
from engine.types import Failure, GenerateRequest, LlmEvent, ResponseDelta

_AUTO = "auto"
_CLOSE_S = 2.0
_RECOVERY_S = 5.0  # a server that did not answer is asked again so soon
_OUTAGE = {
    "refuse": "/ready says 503 and no conversation begins",
    "transcribe": "conversations get transcripts, and `error` in place of replies",
}

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Run:
    """One request on its way through the server."""

    request: GenerateRequest
    task: Future[None] | None = None
    cancelled_at: float = 0.0

    @property
    def id(self) -> tuple[int, int]:
        return self.request.key, self.request.turn_id


class OpenAi:
    """An ``LlmBackend``. The constructor asks for the model's name.

    Raises ``ModelError`` for what waiting does not mend, such as a wrong key or address.
    """

    def __init__(self, settings: EngineSettings, key: str | None, wake: Wake) -> None:
        self._settings = settings
        self._wake = wake
        self._runs: dict[tuple[int, int], _Run] = {}
        self._news: deque[tuple[_Run, LlmEvent]] = deque()
        self._problem: str | None = None
        self._failures = 0  # in a row
        self._heard_at = 0.0
        self._doubt = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()
        self._http = OpenAiHttp(settings, key)
        self._model: str | None = None
        self.name = "openai"
        if settings.llm_model != _AUTO:
            self._call_it(settings.llm_model)
        elif (failed := self._begin(self._find_model()).result()) and not failed.may_pass:
            self.close()
            raise ModelError(f"{settings.llm_url}: {failed}") from failed

    @property
    def free(self) -> int:
        return self._settings.llm_slots - len(self._runs)

    @property
    def busy(self) -> bool:
        return False

    @property
    def problem(self) -> str | None:
        return self._problem

    def submit(self, request: GenerateRequest) -> None:
        run = _Run(request)
        assert run.id not in self._runs
        self._runs[run.id] = run
        run.task = self._begin(self._serve(run))

    def cancel(self, key: int, turn_id: int) -> None:
        run = self._runs.get((key, turn_id))
        if run is not None and run.task is not None and not run.task.cancelled():
            run.cancelled_at = time.monotonic()
            run.task.cancel()  # which closes the stream
            self._tell(run, ResponseDelta(key, turn_id, "", "cancelled"))

    def forget(self, key: int) -> None:
        """The server keeps its own cache of prompts."""

    def step(self) -> list[LlmEvent]:
        events: list[LlmEvent] = []
        while self._news:
            run, event = self._news.popleft()
            if self._runs.get(run.id) is not run:
                continue
            events.append(event)
            if isinstance(event, Failure) or event.finish_reason is not None:
                del self._runs[run.id]
        return events

    def warmup(self) -> None:
        """Have one token made. Raises ``ModelError`` if it never will be, as things are set.

        A server that does not answer yet is a ``problem``, which passes when it does.
        """
        failed = self._begin(self._probe()).result()
        if failed is not None and not failed.may_pass:
            raise ModelError(f"{self._settings.llm_url}: {failed}") from failed
        self._begin(self._watch())

    def close(self) -> None:
        if self._thread.is_alive():
            self._begin(self._end()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # ---- on the loop -----------------------------------------------------------------------

    async def _serve(self, run: _Run) -> None:
        tell = partial(self._tell, run)
        try:
            model = await self._chosen_model()
            await Reply(self._http, model, run.request, self._settings, tell).run()
        except asyncio.CancelledError:
            STAGE_SECONDS.labels("llm_cancel").observe(time.monotonic() - run.cancelled_at)
            raise
        except AttemptFailed as failed:
            tell(Failure(*run.id, failed.error.code, str(failed), failed.retry_after_ms))
            if not (failed.answered or self._doubt.is_set()):  # a burst of failures is one
                self._note_failure(str(failed))
                self._doubt.set()
        except Exception as error:  # our own fault, and this reply's alone
            log.exception("session %d turn %d: a reply failed", *run.id)
            tell(Failure(*run.id, LlmFailed.code, f"the reply failed: {error}"))

    async def _watch(self) -> None:
        """Ask for a token where nothing else was asked for, and at once after a failure.

        Again and again, as long as that fails and the server does not yet count as unwell.
        """
        while True:
            interval_s = self._settings.llm_health_interval_s
            if self._problem is not None:
                interval_s = min(interval_s, _RECOVERY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._doubt.wait()
            if self._doubt.is_set() or time.monotonic() - self._heard_at >= interval_s:
                self._doubt.clear()
                if await self._probe() is not None and self._problem is None:
                    self._doubt.set()

    async def _probe(self) -> AttemptFailed | None:
        """Ask for a token, as replies are asked for; returns why there was none."""
        request = GenerateRequest(-1, 0, opening(self._settings.system, "Hello."), max_tokens=1)
        try:
            model = await self._chosen_model()
            fields = body(model, request, self._settings.llm_extra_body)
            await self._http.stream(fields, lambda _: None)
        except AttemptFailed as failed:
            # A server that is busy is well; one that was never heard may say so while it loads.
            if not (failed.answered and self._heard_at):
                self._note_failure(str(failed))
                return failed
        except Exception as error:  # whatever a server sends, the watch must go on
            log.exception("the health check failed")
            problem = f"the health check failed: {error}"
            self._note_failure(problem)
            return AttemptFailed(LlmFailed(problem), retry=True)
        self._well()
        return None

    async def _find_model(self) -> AttemptFailed | None:
        try:
            await self._chosen_model()
        except AttemptFailed as failed:
            return failed
        return None

    async def _chosen_model(self) -> str:
        """The model's name on the server. Raises ``AttemptFailed``."""
        if self._model is None:
            self._call_it(await self._http.first_model())
        assert self._model is not None
        return self._model

    def _call_it(self, model: str) -> None:
        self._model, self.name = model, f"openai/{_short(model)}"

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)
        await self._http.close()

    def _tell(self, run: _Run, event: LlmEvent) -> None:
        if isinstance(event, ResponseDelta) and event.finish_reason != "cancelled":
            self._well()
        self._news.append((run, event))
        self._wake()

    def _well(self) -> None:
        if self._problem is not None:
            log.info("the language model's server answers: %s", self._settings.llm_url)
        self._heard_at, self._problem, self._failures = time.monotonic(), None, 0

    def _note_failure(self, problem: str) -> None:
        """A server that has never answered is unwell at once, any other after a few failures."""
        self._failures += 1
        if (
            self._problem is not None
            or not self._heard_at
            or self._failures >= (self._settings.llm_unhealthy_after)
        ):
            self._unwell(problem)

    def _unwell(self, problem: str) -> None:
        if self._problem is None:
            log.error(
                "%s (%s). Until it answers, %s: start it, or correct --llm-url",
                problem,
                self._settings.llm_url,
                _OUTAGE[self._settings.llm_outage],
            )
        self._problem = problem


def _short(model: str) -> str:
    """Some servers name a model by its path, which is nobody's business."""
    return PurePath(model).name.removesuffix(".gguf") if model.startswith("/") else model
