"""Two trials of the real thing: speech that is known, and one token of a reply.

Each runs in a process of its own: some pairs of driver and library end the process, and some
hang, and both are findings.
"""

from __future__ import annotations

import multiprocessing
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from engine.config import EngineSettings
from engine.doctor.finding import Finding, failure, ok, warning
from engine.errors import AntiphonError, ConfigError, DeadlineExceeded, LlmFailed, ModelError
from engine.types import Failure, GenerateRequest, Pcm

_TRIAL_TIMEOUT_S = 180.0
_REPLY_TIMEOUT_S = 60.0
_MEMORY = re.compile(r"out of memory|MemoryError|bad_alloc", re.IGNORECASE)
_CUDA = re.compile(r"CUDA error|CUDA failed|CUDA driver|cuBLAS|cuDNN|NVRTC", re.IGNORECASE)
_CONTEXT = multiprocessing.get_context("spawn")  # CUDA does not survive a fork


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended. ``text`` is what the model said, ``error`` why it said nothing.

    ``refused`` is an error of ours before anything ran, whose text already says what to do.
    """

    kind: Literal["said", "refused", "late", "raised", "crashed", "hung"]
    name: str = ""
    text: str = ""
    error: str = ""
    seconds: float = 0.0


Trial = Callable[..., tuple[str, str]]


def attempt(trial: Trial, *args: object, timeout_s: float = _TRIAL_TIMEOUT_S) -> Outcome:
    """Run ``trial(*args)`` in a child process; it returns the model's name and its text."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    started = time.monotonic()
    child = _CONTEXT.Process(target=_child, args=(sender, trial, args), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(timeout_s):
            return Outcome("hung", error=f"no answer within {timeout_s:g} s")
        kind, name, text, error = receiver.recv()
        return Outcome(kind, name, text, error, time.monotonic() - started)
    except EOFError:
        child.join()
        return Outcome("crashed", error=_exit_reason(child.exitcode))
    finally:
        child.kill()
        child.join()
        receiver.close()


def _child(sender: Connection, trial: Trial, args: tuple[object, ...]) -> None:
    try:
        name, text = trial(*args)
    except (ConfigError, ModelError) as error:
        sender.send(("refused", "", "", str(error)))
    except DeadlineExceeded as error:
        sender.send(("late", "", "", str(error)))
    except AntiphonError as error:
        sender.send(("raised", "", "", str(error)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it
        sender.send(("raised", "", "", f"{type(error).__name__}: {error}"))
    else:
        sender.send(("said", name, text, ""))


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with status {code}"


# ---- speech ----------------------------------------------------------------------------------


def hear(settings: EngineSettings, pcm: Pcm) -> tuple[str, str]:
    """Decode ``pcm`` (16 kHz mono float32) once, with the device and model of the settings."""
    from engine.asr.backend import AsrJob
    from engine.asr.load import load
    from engine.engine import pick_device

    device = pick_device(settings.device)
    backend = load(settings, device)
    try:
        backend.submit([AsrJob(0, 0, 0, pcm, is_final=True)])
        hypotheses = backend.step()
        while backend.active:
            hypotheses += backend.step()
    finally:
        backend.close()
    (hypothesis,) = hypotheses
    if hypothesis.error is not None:
        raise hypothesis.error
    return f"{backend.name} on {device}", hypothesis.text.strip()


def judge_speech(outcome: Outcome, expected_word: str) -> Finding:
    """Empty text is a failure: some pairs of driver and library silently return nothing."""
    if outcome.kind != "said":
        return _broken("speech", outcome)
    heard = f"{outcome.name} heard {outcome.text!r} after {outcome.seconds:.1f} s, start included"
    if not outcome.text:
        return failure(
            "speech",
            f"{outcome.name} heard nothing in a clip that holds speech",
            "the GPU's driver and libraries do not fit each other: update the driver, or use "
            "--device cpu",
        )
    if expected_word not in outcome.text.lower():
        return warning(
            "speech",
            heard,
            f"the clip holds {expected_word!r}: an English or multilingual model hears it",
        )
    return ok("speech", heard)


# ---- a reply ---------------------------------------------------------------------------------


def reply(settings: EngineSettings) -> tuple[str, str]:
    """Ask for one short reply; returns when its first text is there."""
    from engine.llm.load import load
    from engine.llm.prompt import opening

    news = threading.Event()
    backend = load(settings, news.set)
    try:
        messages = opening(settings.system, "Say hello.")
        backend.submit(GenerateRequest(0, 0, messages, max_tokens=8))
        give_up_at = time.monotonic() + _REPLY_TIMEOUT_S
        while (left_s := give_up_at - time.monotonic()) > 0:
            if not backend.busy:
                news.wait(left_s)
            news.clear()
            for event in backend.step():
                if isinstance(event, Failure):
                    raise LlmFailed(event.message)
                if event.text.strip() or event.finish_reason:
                    return backend.name, event.text.strip()
        raise DeadlineExceeded(f"no token within {_REPLY_TIMEOUT_S:g} s")
    finally:
        backend.cancel(0, 0)
        backend.close()


def judge_reply(outcome: Outcome) -> Finding:
    if outcome.kind != "said":
        return _broken("reply", outcome)
    if not outcome.text:
        return failure(
            "reply", f"{outcome.name} ended without a word", "try another model (--llm-model)"
        )
    detail = f"{outcome.name} began with {outcome.text!r} after {outcome.seconds:.1f} s"
    return ok("reply", f"{detail}, start included")


def _broken(check: Literal["speech", "reply"], outcome: Outcome) -> Finding:
    return failure(check, outcome.error, _advice(check, outcome))


def _advice(check: Literal["speech", "reply"], outcome: Outcome) -> str:
    model = "--asr-model" if check == "speech" else "--llm-model"
    if _MEMORY.search(outcome.error):
        return f"free memory, or choose a smaller model ({model}; docs/DEPLOYMENT.md, Sizing)"
    if _CUDA.search(outcome.error):
        return "see `nvidia-smi` and `dmesg`; update the driver, or use --device cpu"
    return {
        "refused": f"do what it says, or choose another model ({model})",
        "late": f"see whether other programs hold the processor or the GPU, or choose a smaller "
        f"model ({model}); where a server elsewhere replies, see its log",
        "hung": "see whether other programs hold the processor or the GPU; then look at `dmesg`",
        "crashed": "a native library ended the process: reinstall from the lock file that suits "
        "this machine, or use --device cpu",
    }.get(
        outcome.kind,
        f"see the log of `antiphon serve` with the same settings; try another model ({model}) or "
        "--device cpu",
    )
