"""``antiphon serve`` as a process: its environment, log, signals and exit status.

Imports of the engine wait until the environment is set, because libraries read it once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from engine.errors import AntiphonError
from engine.processor import restrict
from server.config import Settings

if TYPE_CHECKING:
    from engine.client import Deliver, EngineClient

log = logging.getLogger("antiphon")

_ENVIRONMENT = {
    # NumPy's own BLAS threads fight the models' threads for the cores.
    "OPENBLAS_NUM_THREADS": "1",
    # OpenMP's threads wait by spinning unless told otherwise: on two cores that others used as
    # well, a minute of speech took over 60 s so, and 9 s with threads that sleep.
    "OMP_WAIT_POLICY": "PASSIVE",
    # From one operation to the next they may spin: a segment is encoded in 58 ms then, not 67.
    "GOMP_SPINCOUNT": "2000",
    "TOKENIZERS_PARALLELISM": "false",
}
# Lanes spend their time in native code; where they do not, the event loop must not wait long.
_SWITCH_INTERVAL_S = 0.0005


def run(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit status: 0, or 1 if it could not serve.

    Prints ``Antiphon is listening on ADDRESS`` when the models are warm. The first signal
    drains, a second one ends the process at once. Raises ``ConfigError`` where the settings allow
    more memory than there is.
    """
    restrict(settings.isa)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _set_up_log()

    import uvloop

    from server import memory  # numpy comes with it

    memory.check_memory(settings, memory.memory_there_is())

    status: int = uvloop.run(_serve(settings))
    return status


async def _serve(settings: Settings) -> int:
    from server.service import Service

    service = Service(settings, _make_engine)
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            log.warning("stopping at once")
            _exit_now(1)
        service.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        await service.run(_announce)
    except AntiphonError as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.exception("the server could not start")
        return 1
    log.info("stopped")
    if service.is_starting:  # native code that is loading a model cannot be told to stop
        _exit_now(0)
    return 0


def _make_engine(settings: Settings, deliver: Deliver) -> EngineClient:
    from engine.engine import Engine

    return Engine(settings, deliver)


def _announce(url: str) -> None:
    """What was loaded until now stays: some 190,000 objects, mostly of torch, that the garbage
    collector need not go through again and again, with the event loop standing still."""
    gc.collect()
    gc.freeze()
    print(f"Antiphon is listening on {url}", flush=True)


def _set_up_log() -> None:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    for noisy in ("websockets", "asyncio", "httpx2", "httpcore2", "faster_whisper"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _exit_now(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
