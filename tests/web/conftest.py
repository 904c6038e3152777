"""A real Chromium with a recording for a microphone, and real servers for it to visit."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from server.demo import QUESTION
from server.process import ServerProcess

MICROPHONE_RATE_HZ = 48_000
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
]
ALLOW = "--use-fake-ui-for-media-stream"


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = os.environ.get("ANTIPHON_CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("there is no chromium: install Debian's package, or set ANTIPHON_CHROMIUM")
    return path


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots are kept, to be looked at."""
    default = Path(__file__).parents[2] / "artifacts"
    folder = Path(os.environ.get("ANTIPHON_ARTIFACTS") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def question_pcm(rate_hz: int) -> np.ndarray:
    """The bundled question as mono int16 at ``rate_hz``."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    with av.open(str(QUESTION)) as container:
        frames = [frame for raw in container.decode(audio=0) for frame in resampler.resample(raw)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames + resampler.resample(None)])


def write_wav(path: Path, pcm: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, MICROPHONE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def question_once(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the fake microphone plays: the question, then silence for ever."""
    path = tmp_path_factory.mktemp("microphone") / "once.wav"
    return f"{write_wav(path, question_pcm(MICROPHONE_RATE_HZ))}%noloop"


@pytest.fixture(scope="session")
def question_again(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The question and 1.3 s of silence, over and over: who asks does not wait for the answer."""
    path = tmp_path_factory.mktemp("microphone") / "again.wav"
    pause = np.zeros(MICROPHONE_RATE_HZ * 13 // 10, np.int16)
    return str(write_wav(path, np.concatenate([question_pcm(MICROPHONE_RATE_HZ), pause])))


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    # Not longer than a module: its event loop would be in the way of asyncio.run elsewhere.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as instance:
        yield instance


@pytest.fixture
def open_page(playwright: Any, chromium_path: str) -> Iterator[Callable[..., Any]]:
    """``open_page(url, microphone, …)``: a page that has loaded without a complaint.

    ``may_complain``: the test breaks the network, and the browser says so on its console.
    """
    browsers: list[Any] = []
    complaints: list[str] = []

    def open_(
        url: str,
        microphone: str,
        *,
        ui: str = ALLOW,
        may_complain: bool = False,
        prepare: Callable[[Any], None] | None = None,
        **context: Any,
    ) -> Any:
        flags = [*FLAGS, ui, f"--use-file-for-fake-audio-capture={microphone}"]
        browser = playwright.chromium.launch(executable_path=chromium_path, args=flags)
        browsers.append(browser)
        context.setdefault("viewport", {"width": 1280, "height": 800})
        page = browser.new_context(**context).new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not may_complain:
            page.on("console", lambda line: complaints.append(line.text))
        if prepare:
            prepare(page)
        page.goto(url)
        return page

    yield open_
    for browser in browsers:
        browser.close()
    assert complaints == []


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server with the real, default models."""
    with ServerProcess() as process:
        process.start()
        yield process


@pytest.fixture(scope="module")
def echo_server() -> Iterator[ServerProcess]:
    """A server that only has to hand out the page."""
    with ServerProcess() as process:
        process.start(["--asr-model", "tiny.en", "--llm", "echo"])
        yield process


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """``start_server("--flag", …)``: the test's own. To be asked for before ``open_page``, so that
    the pages are closed first and do not complain that it is gone."""
    with contextlib.ExitStack() as servers:

        def start(*args: str) -> ServerProcess:
            process = servers.enter_context(ServerProcess())
            process.start(args)
            return process

        yield start


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
