"""`antiphon talk` against a scripted server: what it sends, shows, and how it fails."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import threading
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers

from engine.errors import AudioError
from server import talk
from server.audio_file import BYTES_PER_S, read_pcm
from server.client import Client, ClientError, Message
from server.talk_turn import Turn, percentile
from server.talk_view import LiveView, latency_table, render

Handler = Callable[[ServerConnection], Awaitable[None]]

REPLY: list[Message] = [
    {"type": "transcription", "text": "Hello there friend."},
    {"type": "response_delta", "text": "Good "},
    {"type": "response_delta", "text": "morning."},
    {
        "type": "chatbot_response",
        "transcription": "Hello there friend.",
        "response": "Good morning.",
        "backend_used": "scripted",
    },
    {"type": "segment_processed"},
]


class Scripted:
    """A server that plays a script after `segment_end` and keeps all that it received."""

    def __init__(self, answers: list[Message], *, partial: bool = True) -> None:
        self.answers = answers
        self.partial = partial
        self.hello: Message = {}
        self.headers = Headers()
        self.audio = b""

    async def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.headers = socket.request.headers
        self.hello = json.loads(await socket.recv())
        await self._send(socket, {"type": "session_ack", "session_id": self.hello["session_id"]})
        async for data in socket:
            if isinstance(data, bytes):
                await self._take(socket, data)
            elif (message := json.loads(data))["type"] == "audio_chunk":
                await self._take(socket, base64.b64decode(message["data"]))
            else:
                for answer in self.answers:
                    await self._send(socket, answer)

    async def _take(self, socket: ServerConnection, audio: bytes) -> None:
        self.audio += audio
        await self._send(socket, {"type": "chunk_received"})
        if self.partial:
            self.partial = False
            for stable in (5, 9):  # the same words, then settled
                text = {"type": "partial_transcription", "text": "Hello the"}
                await self._send(socket, text | {"stable_chars": stable})

    async def _send(self, socket: ServerConnection, message: Message) -> None:
        await socket.send(json.dumps(message))


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws/audio"


@contextlib.contextmanager
def serving_in_thread(handler: Handler) -> Iterator[str]:
    """The same beside a caller that has an event loop of its own."""
    started = threading.Event()
    address: list[str] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        async with serving(handler) as url:
            address.append(url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert started.wait(10)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """0.35 s of stereo tone at 44.1 kHz."""
    path = tmp_path / "tone.wav"
    tone = np.sin(np.arange(15435) * 2 * np.pi * 440 / 44100) * 8000
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(np.repeat(tone.astype("<i2"), 2).tobytes())
    return path


def talk_args(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    talk.add_arguments(parser)
    return parser.parse_args(argv)


def test_talk_streams_the_recording_and_prints_plain_lines(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Scripted(REPLY)
    with serving_in_thread(server) as url:
        status = talk.run(
            talk_args(str(recording), "--url", url, "--token", "t0ken", "--language", "en")
        )
    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert lines[:3] == [
        "hearing   Hello the",
        "you       Hello there friend.",
        "antiphon  Good morning.",
    ]
    assert "chunk acknowledged, p99" in "\n".join(lines)
    assert server.headers["Authorization"] == "Bearer t0ken"
    assert server.hello["language"] == "en"
    assert "system" not in server.hello
    assert len(server.audio) == pytest.approx(0.35 * BYTES_PER_S, abs=4)


def test_reply_is_shown_where_the_server_sends_no_deltas(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_in_thread(Scripted(REPLY[-2:])) as url:
        assert talk.run(talk_args(str(recording), "--url", url)) == 0
    assert "antiphon  Good morning." in capsys.readouterr().out


def test_an_error_in_the_reply_is_the_exit_status(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {**REPLY[3], "response": "", "error": "no speech was found"}
    with serving_in_thread(Scripted([failed, REPLY[4]])) as url:
        assert talk.run(talk_args(str(recording), "--url", url)) == 1
    assert "no speech was found" in capsys.readouterr().err


async def _refuse_full(socket: ServerConnection) -> None:
    await socket.recv()
    full = {"type": "error", "code": "overloaded", "message": "all 1 sessions are taken"}
    await socket.send(json.dumps({**full, "retry_after_ms": 2000}))
    await socket.close(1013, "overloaded")


async def _close_in_mid_session(socket: ServerConnection) -> None:
    hello = json.loads(await socket.recv())
    await socket.send(json.dumps({"type": "session_ack", "session_id": hello["session_id"]}))
    await socket.recv()
    await socket.close(1001, "going away")


async def _error_in_mid_session(socket: ServerConnection) -> None:
    hello = json.loads(await socket.recv())
    await socket.send(json.dumps({"type": "session_ack", "session_id": hello["session_id"]}))
    await socket.recv()
    error = {"type": "error", "code": "audio_undecodable", "message": "not audio"}
    await socket.send(json.dumps(error))
    await socket.wait_closed()


async def _answer_no_json(socket: ServerConnection) -> None:
    await socket.recv()
    await socket.send("hello?")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_refuse_full, ["full", "all 1 sessions are taken", "Try again in 2 s"]),
        (_close_in_mid_session, ["closed", "1001", "going away"]),
        (_error_in_mid_session, ["audio_undecodable", "not audio"]),
        (_answer_no_json, ["not JSON"]),
    ],
)
def test_failures_say_what_happened(
    handler: Handler, words: list[str], recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_in_thread(handler) as url:
        assert talk.run(talk_args(str(recording), "--url", url)) == 1
    said = capsys.readouterr().err
    for word in words:
        assert word in said


def test_a_server_that_is_not_there(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk.run(talk_args(str(recording), "--url", "ws://127.0.0.1:9/ws/audio")) == 1
    assert "antiphon serve" in capsys.readouterr().err


def test_an_address_that_is_none(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk.run(talk_args(str(recording), "--url", "127.0.0.1")) == 1
    assert "ws://HOST:PORT/ws/audio" in capsys.readouterr().err


def test_no_reply_in_time(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving_in_thread(Scripted([])) as url:
        assert talk.run(talk_args(str(recording), "--url", url, "--timeout", "0.05")) == 1
    assert "--timeout" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"not audio at all " * 50])
def test_files_that_are_no_audio(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    assert talk.run(talk_args(str(path))) == 1
    assert "notes.txt" in capsys.readouterr().err


def test_a_missing_file() -> None:
    with pytest.raises(AudioError, match="nowhere"):
        read_pcm(Path("nowhere.wav"))


def test_pieces_are_those_of_a_microphone(recording: Path) -> None:
    sizes = [len(piece) for piece in read_pcm(recording, 100)]
    assert sizes[:-1] == [3200, 3200, 3200]
    assert 0 < sizes[-1] < 3200


def test_client_sends_base64_and_binary_alike() -> None:
    async def main() -> bytes:
        server = Scripted(REPLY)
        async with serving(server) as url, await Client.connect(url) as client:
            await client.send_audio(b"\x01\x02", base64=True)
            await client.send_audio(b"\x03\x04")
            await client.end_segment()
            async for message in client:
                if message["type"] == "segment_processed":
                    return server.audio
        raise AssertionError("no segment_processed")

    assert asyncio.run(main()) == b"\x01\x02\x03\x04"


def test_client_reports_a_connection_that_it_did_not_close() -> None:
    async def main() -> None:
        async with (
            serving(_close_in_mid_session) as url,
            await Client.connect(url, session_id="s") as client,
        ):
            assert client.session_id == "s"
            await client.end_segment()
            async for message in client:
                raise AssertionError(message)

    with pytest.raises(ClientError, match="1001"):
        asyncio.run(main())


def test_turn_keeps_the_latency_of_each_stage() -> None:
    turn = Turn(handshake_ms=3.0)
    for index in range(4):
        turn.audio_sent(10.0 + index)
        turn.take({"type": "chunk_received"}, 10.0 + index + 0.001 * (index + 1))
    turn.take({"type": "partial_transcription", "text": "a b", "stable_chars": 1}, 12.0)
    turn.end_sent(14.0)
    turn.take({"type": "transcription", "text": "a b"}, 14.2)
    turn.take({"type": "response_delta", "text": "x"}, 14.3)
    turn.take({"type": "response_delta", "text": "y"}, 14.4)
    result = {"type": "chatbot_response", "transcription": "a b", "response": "xy"}
    turn.take({**result, "timings": {"asr": 190.0, "first_token": 290.0, "total": 490.0}}, 14.5)
    assert turn.reply == "xy"
    shown = [(round(latency_ms), server_ms) for _, latency_ms, server_ms in turn.latencies()]
    assert shown[:4] == [(3, None), (2, None), (4, None), (2000, None)]
    assert shown[4:] == [(200, 190.0), (300, 290.0), (500, 490.0)]
    assert latency_table(turn).row_count == 7


def test_live_view_tells_settled_from_moving_words() -> None:
    turn = Turn(handshake_ms=1.0)
    turn.take({"type": "partial_transcription", "text": "so it goes", "stable_chars": 5}, 1.0)
    console = Console(record=True, force_terminal=True, width=60)
    with LiveView(console) as view:
        view.show(turn)
    styled = console.export_text(styles=True)
    assert "\x1b[1;39mso it\x1b[0m" in styled
    assert "\x1b[2;3;39m goes\x1b[0m" in styled
    turn.take({"type": "transcription", "text": "so it goes"}, 2.0)
    console.print(render(turn))
    assert "so it goes" in console.export_text()


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_percentile_is_the_nearest_rank(values: list[float], percent: int) -> None:
    chosen = percentile(values, percent)
    assert sum(value <= chosen for value in values) * 100 >= percent * len(values)
    assert sum(value < chosen for value in values) * 100 < percent * len(values)


@pytest.mark.parametrize("phase", [1, -1])
def test_a_second_channel_of_any_phase_leaves_the_level_as_it_is(
    tmp_path: Path, phase: int
) -> None:
    tone = (np.sin(np.arange(44100) * 2 * np.pi * 440 / 44100) * 8000).astype("<i2")
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(np.stack([tone, phase * tone], axis=1).tobytes())
    heard = np.frombuffer(b"".join(read_pcm(tmp_path / "tone.wav")), "<i2").astype(float)
    assert len(heard) == pytest.approx(16_000, abs=2)
    assert np.abs(heard[2_000:]).max() == pytest.approx(8000, rel=0.01)
