"""Every example of docs/CLIENTS.md, run against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.load.encodings import to_g711
from server.audio_file import read_pcm
from server.demo import QUESTION
from server.process import ServerProcess

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "docs/CLIENTS.md").read_text(), re.M | re.S)
WORDS = "What is the capital of France?"
JAVASCRIPT_TIMEOUT_S = 60
EXPECTED = {
    "antiphon talk": [f"you       {WORDS}", f"antiphon  {WORDS}"],
    "curl": ['"ready": true', "antiphon_sessions"],
    "python -m websockets": ['"session_ack"', '"chatbot_response"', '"segment_processed"'],
    "call.ulaw": [f"the caller said: {WORDS}"],
    'rb") as recording': [f"heard: {WORDS}", f"reply: {WORDS}"],
    "server.client": ["hearing: ", f"heard: {WORDS}", "piece: "],
    "antiphon-client.js": ["connection: open", "hearing: ", f"heard: {WORDS}", "piece: "],
    "new MediaRecorder": [f"heard: {WORDS}", f"reply: {WORDS}"],
}

pytestmark = pytest.mark.models


def blocks(*languages: str) -> list[str]:
    return [text for language, text in BLOCKS if language in languages]


def expected(block: str) -> list[str]:
    """What an example prints, by what is in it; an example that nobody knows is an error."""
    (found,) = (words for mark, words in EXPECTED.items() if mark in block)
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess() as process:
        process.start(["--asr-model", "tiny.en", "--llm", "echo"])
        yield process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader would be: the question beside them, `antiphon` and `python` on the path."""
    shutil.copy(QUESTION, tmp_path / "question.wav")
    (tmp_path / "call.ulaw").write_bytes(to_g711(b"".join(read_pcm(QUESTION)), "mulaw"))
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, arguments in (("python", ""), ("antiphon", "-m server.cli")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (commands / name).chmod(0o755)
    return tmp_path


def here(block: str, server: ServerProcess) -> str:
    assert "127.0.0.1:8000" in block
    return block.replace("127.0.0.1:8000", urlsplit(server.url).netloc)


def run(command: list[str], folder: Path) -> str:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_run_by_a_test_below() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python", "js"}
    assert len([expected(text) for _, text in BLOCKS]) == len(EXPECTED)


@pytest.mark.parametrize("block", blocks("sh"))
def test_shell(block: str, server: ServerProcess, folder: Path) -> None:
    if "curl" in block and not shutil.which("curl"):
        pytest.skip("there is no curl")
    printed = run(["sh", "-ec", here(block, server)], folder)
    for words in expected(block):
        assert words in printed


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: str, server: ServerProcess, folder: Path) -> None:
    (folder / "example.py").write_text(here(block, server))
    printed = run([str(folder / "bin/python"), "example.py"], folder)
    for words in expected(block):
        assert words in printed


@pytest.mark.browser
@pytest.mark.parametrize("block", blocks("js"))
def test_javascript(block: str, server: ServerProcess, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("ANTIPHON_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no chromium: install Debian's package, or set ANTIPHON_CHROMIUM")
    flags = [
        "--no-sandbox",
        "--disable-background-networking",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone(tmp_path)}%noloop",
    ]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        printed: list[str] = []
        page.on("console", lambda line: printed.append(line.text))
        page.on("pageerror", lambda error: printed.append(f"error: {error}"))
        script = {"content_type": "text/javascript", "body": here(block, server)}
        page.route("**/example.js", lambda route: route.fulfill(**script))
        page.goto(f"{server.url}/health")
        page.evaluate("void import('/example.js')")
        deadline = time.monotonic() + JAVASCRIPT_TIMEOUT_S
        for words in expected(block):
            while not any(words in line for line in printed):
                assert time.monotonic() < deadline, printed
                page.wait_for_event("console", timeout=JAVASCRIPT_TIMEOUT_S * 1000)
        assert not [line for line in printed if line.startswith("error")]
        browser.close()


def microphone(folder: Path) -> Path:
    """The question as Chromium's fake microphone wants it: with a second of silence after it."""
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"".join(read_pcm(QUESTION)) + bytes(32_000))
    return path
