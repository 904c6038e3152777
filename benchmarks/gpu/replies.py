"""exllamav2 with a small real model: its paged batches against its unpaged mode, and its speed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.bench import Bench, Record, Row, Skipped
from benchmarks.gpu.cuda_tests import ROOT
from engine.config import EngineSettings
from engine.llm.exllama import ExLlama
from engine.llm.exllama_model import Loaded, load_exllama

SESSIONS = (1, 2, 4, 8, 16, 32, 64)
TOKENS = 64
_CONTEXT_TOKENS = 1024
_SUBJECTS = ("France", "the sea", "a market", "rain", "old songs", "bread", "trains", "a garden")


def measure(bench: Bench, record: Record) -> None:
    """Rows: ``sessions``, tokens a second of all together, first-token times.

    ``paged``: how many of some prompts are answered, eight at once, token for token as by the
    library's own unpaged mode, one at a time.
    """
    if bench.device != "cuda":
        raise Skipped("exllamav2 runs on CUDA only")
    if find_spec("exllamav2") is None:
        raise Skipped("exllamav2 is not installed")
    # without it the library's unpaged mode is not causal while it reads a prompt
    os.environ["EXLLAMA_NO_SDPA"] = "1"
    with _model(bench) as folder:
        settings = EngineSettings(
            llm="exllamav2", llm_model=str(folder), llm_slots=max(SESSIONS),
            llm_context_tokens=_CONTEXT_TOKENS,
        )  # fmt: skip
        record.attempt({"check": "paged equals unpaged"}, partial(compare, settings, folder))
        backend = ExLlama(settings, folder)
        backend.warmup()
        record.fact("backend", backend.name)
        for sessions in SESSIONS[:2] if bench.quick else SESSIONS:
            record.attempt({"sessions": sessions}, partial(_round, backend, sessions))
        backend.close()


def _round(backend: ExLlama, sessions: int) -> Row:
    from benchmarks.replies import ask_all

    return asdict(ask_all(backend, threading.Event(), sessions, TOKENS))


@contextmanager
def _model(bench: Bench) -> Iterator[Path]:
    """The folder that was named, or one made from the embedded GGUF."""
    if bench.llm_model:
        yield Path(bench.llm_model)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "tests/llm/hf_model.py", folder]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path},
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Skipped(f"no model was named (--llm-model), and none could be made: {why}")
        yield Path(folder)


def compare(settings: EngineSettings, folder: Path) -> Row:
    """Greedy answers to a few prompts, in both modes of one loaded model."""
    loaded = load_exllama(settings, folder)
    prompts = [f"<|im_start|>user\nTell me about {subject}.<|im_end|>\n<|im_start|>assistant\n"
               for subject in _SUBJECTS]  # fmt: skip
    together = answers(loaded, loaded.generator, prompts)
    unpaged = _unpaged(loaded)
    alone = [answers(loaded, unpaged, [prompt])[0] for prompt in prompts]
    same = [_agreed(*pair) for pair in zip(together, alone, strict=True)]
    return {
        "attention": loaded.attention,
        "prompts": len(prompts),
        "equal": sum(a == b for a, b in zip(together, alone, strict=True)),
        "tokens": sum(map(len, alone)),
        "tokens_before_a_difference": sum(same),
    }


def _unpaged(loaded: Loaded) -> Any:
    """The library's fallback: one job at a time, no attention of ours."""
    model = loaded.generator.model
    cache = import_module("exllamav2").ExLlamaV2Cache(
        model, max_seq_len=_CONTEXT_TOKENS, lazy=False
    )
    make = import_module("exllamav2.generator").ExLlamaV2DynamicGenerator
    return make(model=model, cache=cache, tokenizer=loaded.tokenizer, max_batch_size=1, paged=False)


def answers(loaded: Loaded, generator: Any, prompts: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens of each prompt's greedy answer, all prompts asked at once."""
    said: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        job = loaded.new_job(
            input_ids=loaded.tokenizer.encode(prompt, encode_special_tokens=True),
            max_new_tokens=TOKENS,
            gen_settings=loaded.new_sampler.greedy(),
            stop_conditions=[*loaded.stop_ids],
            identifier=index,
        )
        said[index] = []
        generator.enqueue(job)
    while generator.num_remaining_jobs():
        for result in generator.iterate():
            if result["stage"] == "streaming" and "token_ids" in result:
                said[result["identifier"]] += result["token_ids"][0].tolist()
    return [tuple(tokens) for tokens in said.values()]


def _agreed(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens before the first difference."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
