"""exllamav2's surface as of 0.3.2, without a GPU: what the backend calls, and how it answers.

A token is a character (its code), a mark of the template, or one of the reply's own tokens of two
characters, so that a reply's tokens are not those that its text would be cut into.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from engine.llm import exllama_model

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = {"<|im_start|>": 1, "<|im_end|>": 2}
_FIRST_PAIR = 1_000_000


class Config:
    """``ExLlamaV2Config``."""

    def __init__(self, folder: str) -> None:
        content = json.loads((Path(folder) / "config.json").read_text())
        self.max_seq_len = content.get("max_position_embeddings", 2048)
        self.sliding_window = content.get("sliding_window", 0)
        # of the library's knowledge of architectures: whether the window is used at all
        lm = SimpleNamespace(swa=content.get("fake_swa", True), alternating_swa=False)
        self.arch = SimpleNamespace(lm=lm)
        self.attn_logit_softcapping = content.get("attn_logit_softcapping")
        self.rotary_embedding_base = content.get("rope_theta", 10_000.0)
        self.max_input_len = 2048
        self.max_attention_size = 2048**2

    def arch_compat_overrides(self, quiet: bool = False) -> None:
        assert quiet


class Model:
    """``ExLlamaV2``."""

    def __init__(self, config: Config) -> None:
        self.config, self.unloaded = config, False

    def load_autosplit(self, cache: Cache, progress: bool) -> None:
        assert cache.lazy
        self.config.max_input_len = min(self.config.max_input_len, self.config.max_seq_len)
        assert cache.max_seq_len >= self.config.max_input_len, "a layer is tried on so many tokens"

    def unload(self) -> None:
        self.unloaded = True


@dataclass
class Cache:
    """``ExLlamaV2Cache``."""

    model: Model
    max_seq_len: int
    lazy: bool


class Tokenizer:
    """``ExLlamaV2Tokenizer``."""

    def __init__(self, config: Config) -> None:
        self.extended_piece_to_id, self.eos_token_id = MARKS, MARKS["<|im_end|>"]

    def single_id(self, token: str) -> int | None:
        return MARKS.get(token)

    def encode(self, text: str, add_bos: bool, encode_special_tokens: bool) -> torch.Tensor:
        assert not add_bos
        assert encode_special_tokens
        pieces = re.split("(" + "|".join(map(re.escape, MARKS)) + ")", text)
        ids = [i for p in pieces for i in ([MARKS[p]] if p in MARKS else map(ord, p))]
        return torch.tensor([ids])


def pair(text: str) -> int:
    """One token for up to two characters."""
    return _FIRST_PAIR + int.from_bytes(text.encode("utf-32-le"), "little") % 10**9


class Sampler:
    """``ExLlamaV2Sampler.Settings``."""

    def __init__(self, **given: Any) -> None:
        self.given = given

    @classmethod
    def greedy(cls) -> Sampler:
        return cls(top_k=1)


class Job:
    """``ExLlamaV2DynamicJob``. ``script`` holds what it will say; prompts take two steps."""

    def __init__(self, input_ids: torch.Tensor, **given: Any) -> None:
        assert input_ids.shape[0] == 1
        assert input_ids.device.type == "cpu"
        self.ids: list[int] = input_ids[0].tolist()
        self.given = given
        self.identifier = given["identifier"]
        self.pieces_left = 2
        self.said = 0
        self.script: list[tuple[str, int]] = []
        self.generator: Generator | None = None

    def is_prefill_done(self) -> bool:
        return self.pieces_left == 0

    def prefill(self, results: list[dict[str, Any]]) -> None:
        if self.pieces_left:
            self._misbehave("prefill")
            self.pieces_left -= 1
            results.append(self._result("prefill", eos=False))

    def receive_logits(self, logits: object) -> tuple[Any, ...]:
        self._misbehave("logits")
        return self.script[self.said], None, None, None, False

    def receive_sample(self, logits: object, token: Any, *rest: Any) -> tuple[bool, Any]:
        results = rest[-2]
        self._misbehave("sample")
        text, number = token
        self.said += 1
        if number in self.given["stop_conditions"]:
            ending = {"eos_reason": "stop_token", "eos_triggering_token_str": text}
            results.append(self._result("streaming", eos=True, **ending))
            return True, token
        ids = torch.tensor([[number]])
        if self.said >= self.given["max_new_tokens"]:
            results.append(
                self._result(
                    "streaming", True, text=text, token_ids=ids, eos_reason="max_new_tokens"
                )
            )
            return True, token
        results.append(self._result("streaming", False, text=text, token_ids=ids))
        return False, token

    def _misbehave(self, where: str) -> None:
        assert self.generator is not None
        if error := self.generator.broken.get((self.identifier, where)):
            raise error

    def _result(self, stage: str, eos: bool, **more: Any) -> dict[str, Any]:
        counts = {"prompt_tokens": len(self.ids), "cached_tokens": 0, "new_tokens": self.said}
        own = {"job": self, "stage": stage, "eos": eos, "identifier": self.identifier}
        return {**own, **(counts if eos else {}), **more}


class Generator:
    """``ExLlamaV2DynamicGenerator``: every job in turn, as its ``iterate`` does."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.model: Model = given["model"]
        assert given["paged"]
        assert given["cache"].max_seq_len % 256 == 0
        assert given["max_chunk_size"] % 256 == 0
        assert 0 < given["max_chunk_size"] <= self.model.config.max_input_len
        assert given["max_q_size"] * given["max_batch_size"] <= self.model.config.max_input_len
        assert sys.modules["exllamav2.attn"].has_flash_attn_with_paged  # type: ignore[attr-defined]
        self.jobs: list[Job] = []
        self.seen: list[Job] = []
        self.cancelled: list[Job] = []
        self.broken: dict[tuple[tuple[int, int], str], Exception] = {}
        self.dead: Exception | None = None
        self.reply: Callable[[Job], list[tuple[str, int]]] = lambda job: spoken("Well said.")

    def enqueue(self, job: Job) -> None:
        total = len(job.ids) + job.given["max_new_tokens"]
        assert total <= self.given["cache"].max_seq_len, "Job requires more pages than there are"
        job.generator, job.script = self, self.reply(job)
        self.jobs.append(job)
        self.seen.append(job)

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job)
        if job in self.jobs:
            self.jobs.remove(job)

    def iterate(self) -> list[dict[str, Any]]:
        if self.dead is not None:
            raise self.dead
        assert len(self.jobs) <= self.given["max_batch_size"]
        results: list[dict[str, Any]] = []
        for job in self.jobs:
            job.prefill(results)
        done = []
        for job in [job for job in self.jobs if job.is_prefill_done()]:
            token, *rest = job.receive_logits(None)
            eos, _ = job.receive_sample(None, token, *rest, results, True)
            if eos:
                done.append(job)
        for job in done:
            self.jobs.remove(job)
        return results


def spoken(text: str) -> list[tuple[str, int]]:
    """A reply as tokens of two characters, and the mark that ends it."""
    pieces = [text[i : i + 2] for i in range(0, len(text), 2)]
    return [*((piece, pair(piece)) for piece in pieces), ("<|im_end|>", MARKS["<|im_end|>"])]


def write_model(folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 2} | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (folder / "model.safetensors").touch()
    return folder


@contextmanager
def installed(flash_attn: bool = False) -> Iterator[ModuleType]:
    """The fake library in place of the real one, and a GPU that nobody looks at closely."""
    package, attn, generator = map(
        ModuleType, ("exllamav2", "exllamav2.attn", "exllamav2.generator")
    )
    vars(package).update(
        ExLlamaV2Config=Config, ExLlamaV2=Model, ExLlamaV2Cache=Cache, ExLlamaV2Tokenizer=Tokenizer
    )
    vars(attn).update(has_flash_attn_with_paged=flash_attn)
    sampler = type("ExLlamaV2Sampler", (), {"Settings": Sampler})
    vars(generator).update(
        ExLlamaV2DynamicGenerator=Generator, ExLlamaV2DynamicJob=Job, ExLlamaV2Sampler=sampler
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (package, attn, generator):
            patch.setitem(sys.modules, module.__name__, module)
        patch.setattr(exllama_model, "require", lambda settings: None)
        yield attn
