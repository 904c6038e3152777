"""exllamav2 on CUDA: continuous batching over a paged cache, all on the lane's thread.

The synchronous generator: ``submit`` enqueues a job, ``step`` is one ``iterate``, which adds a
token to each reply and computes a piece of each new prompt.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from engine.config import EngineSettings
from engine.errors import LlmFailed, ModelError
from engine.llm.chat_template import ChatTemplate, load_chat_template
from engine.llm.chunks import Usage
from engine.llm.exllama_guard import Guard
from engine.llm.exllama_model import Loaded, load_exllama
from engine.llm.marks import Marks
from engine.llm.prompt import Messages, fit, opening, shrink, too_long
from engine.llm.token_history import Exchange
from engine.llm.usage import count
from engine.types import Failure, GenerateRequest, LlmEvent, ResponseDelta, Sampling

log = logging.getLogger(__name__)

JobId = tuple[int, int]

_FINISH: dict[str | None, Literal["stop", "length"]] = {"max_new_tokens": "length"}


@dataclass(slots=True, eq=False)
class _Run:
    """A reply being made. ``exchange`` grows with what is said."""

    request: GenerateRequest
    job: Any
    exchange: Exchange
    guard: Guard

    @property
    def id(self) -> JobId:
        return self.request.key, self.request.turn_id


class ExLlama:
    """An ``LlmBackend``. The constructor loads the model and raises ``ModelError``."""

    def __init__(self, settings: EngineSettings, folder: Path) -> None:
        self._settings = settings
        self._template: ChatTemplate = load_chat_template(folder)
        self._loaded: Loaded = load_exllama(settings, folder)
        self.name = f"exllamav2/{folder.name} ({self._loaded.attention})"
        self._marks = Marks(self._loaded.tokenizer.extended_piece_to_id)
        self._runs: dict[JobId, _Run] = {}
        self._news: list[LlmEvent] = []
        self._exchanges: dict[int, Exchange] = {}

    @property
    def problem(self) -> str | None:
        """None: a generator that fails raises in ``step``, and the lane tells."""
        return None

    @property
    def free(self) -> int:
        return self._settings.llm_slots - len(self._runs)

    @property
    def busy(self) -> bool:
        return bool(self._runs or self._news)

    def submit(self, request: GenerateRequest) -> None:
        """Raises what is wrong with this request; no other is touched by it."""
        reply_tokens = min(request.max_tokens, self._loaded.context_tokens // 2)
        exchange = self._prompt(request, self._loaded.context_tokens - reply_tokens)
        job = self._loaded.new_job(
            input_ids=torch.tensor([exchange.ids], dtype=torch.long),
            max_new_tokens=reply_tokens,
            gen_settings=self._sampler(request.sampling),
            seed=request.sampling.seed,
            stop_conditions=[*self._loaded.stop_ids, *request.sampling.stop],
            identifier=(request.key, request.turn_id),
        )
        run = _Run(request, job, exchange, Guard(job))
        self._loaded.generator.enqueue(job)
        self._runs[run.id] = run

    def cancel(self, key: int, turn_id: int) -> None:
        run = self._runs.get((key, turn_id))
        if run is not None:
            self._end(run, ResponseDelta(key, turn_id, "", "cancelled"))

    def forget(self, key: int) -> None:
        """Its pages stay in the cache until others need them."""
        self._exchanges.pop(key, None)

    def step(self) -> list[LlmEvent]:
        """One token for each running reply. What it raises is the end of the generator."""
        if self._runs:
            for result in self._loaded.generator.iterate():
                self._take(result)
            for run in [run for run in self._runs.values() if run.guard.error is not None]:
                message = f"the reply failed: {run.guard.error}"
                self._end(run, Failure(*run.id, LlmFailed.code, message))
        news, self._news = self._news, []
        return news

    def warmup(self) -> None:
        """Put the system prompt into the cache; compile the kernels for batches of all sizes."""
        messages = opening(self._settings.system, "Hello.")
        replies = 1
        while replies <= self._settings.llm_slots:
            for turn_id in range(replies):
                self.submit(GenerateRequest(-1, turn_id, messages, max_tokens=2))
            while self._runs:
                for event in self.step():
                    if isinstance(event, Failure):
                        raise ModelError(f"{self.name} cannot answer: {event.message}")
            replies *= 2
        self.forget(-1)

    def close(self) -> None:
        self._runs.clear()
        try:
            self._loaded.generator.model.unload()
        except RuntimeError as error:  # a device that has failed cannot even give memory back
            log.warning("%s cannot be unloaded: %s", self.name, error)

    # ---- prompts ---------------------------------------------------------------------------

    def _prompt(self, request: GenerateRequest, budget_tokens: int) -> Exchange:
        """The prompt in at most ``budget_tokens``: the oldest turns leave. Raises ``LlmFailed``."""
        last = self._exchanges.get(request.key, Exchange())
        messages: Messages | None = fit(self._marks.break_in(request.messages), budget_tokens)
        tokens = 0
        while messages is not None:
            exchange = last.follow(self._template.render(messages), self._tokenize)
            tokens = len(exchange.ids)
            if tokens <= budget_tokens:
                return exchange
            messages = shrink(messages, tokens, budget_tokens)
        raise LlmFailed(too_long(tokens, budget_tokens))

    def _tokenize(self, text: str) -> list[int]:
        if not text:
            return []
        ids = self._loaded.tokenizer.encode(text, add_bos=False, encode_special_tokens=True)
        tokens: list[int] = ids[0].tolist()
        return tokens

    def _sampler(self, sampling: Sampling) -> Any:
        """A fresh object for each job: exllamav2 keeps state in it."""
        if sampling.temperature == 0:
            return self._loaded.new_sampler.greedy()
        return self._loaded.new_sampler(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            token_repetition_penalty=1.0,
        )

    # ---- results ---------------------------------------------------------------------------

    def _take(self, result: dict[str, Any]) -> None:
        run = self._runs.get(result["identifier"])
        if run is None or result["stage"] != "streaming" or run.guard.error is not None:
            return
        text, reason = result.get("text", ""), result.get("eos_reason")
        # Where a stop text ended it, the tokens spell more than the text.
        if "token_ids" in result and reason != "stop_string":
            run.exchange.extend(text, result["token_ids"][0].tolist())
        if not result["eos"]:
            if text:
                self._news.append(ResponseDelta(*run.id, text))
            return
        cached = result["cached_tokens"]
        count(Usage(cached, result["prompt_tokens"] - cached, result["new_tokens"]))
        said = text.rstrip("\ufffd") + _rest(result)  # an ending may cut a character in two
        self._end(run, ResponseDelta(*run.id, said, _FINISH.get(reason, "stop")))

    def _end(self, run: _Run, event: LlmEvent) -> None:
        self._loaded.generator.cancel(run.job)  # does nothing to a job that is over
        del self._runs[run.id]
        self._exchanges[run.request.key] = run.exchange
        self._news.append(event)


def _rest(result: dict[str, Any]) -> str:
    """Text held back, in case it began a stop text, when a token ended the reply."""
    if result["eos_reason"] != "stop_token":
        return ""
    held: str = result.get("held", {}).get("text", "")
    return held.removesuffix(result["eos_triggering_token_str"])
