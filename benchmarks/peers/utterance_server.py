"""What most people build first: a model behind one lock, asked when an utterance has ended.

Runs in a peer's own environment, so it imports nothing of ours. It speaks as much of
docs/PROTOCOL.md as it can: raw 16 kHz samples, acknowledgements, the final text; no partial
transcripts and no reply.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

Transcribe = Callable[[Any, str], str]


def faster_whisper(model: str, threads: int) -> Transcribe:
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(pcm: Any, language: str) -> str:
        segments, _ = whisper.transcribe(
            pcm,
            language=language,
            beam_size=1,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def faster_whisper_batched(model: str, threads: int) -> Transcribe:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=threads)
    pipeline = BatchedInferencePipeline(whisper)

    def transcribe(pcm: Any, language: str) -> str:
        segments, _ = pipeline.transcribe(pcm, language=language, beam_size=1, batch_size=8)
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def whisper_cpp(model: str, threads: int) -> Transcribe:
    from pywhispercpp.model import Model

    whisper = Model(model, n_threads=threads, print_progress=False, print_realtime=False)

    def transcribe(pcm: Any, language: str) -> str:
        segments = whisper.transcribe(pcm, language=language, no_context=True)
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


ENGINES: dict[str, Callable[[str, int], Transcribe]] = {
    "faster-whisper": faster_whisper,
    "faster-whisper-batched": faster_whisper_batched,
    "whisper-cpp": whisper_cpp,
}


class Listener:
    """One connection. ``lock`` is an executor with one thread, shared by all."""

    def __init__(
        self, socket: ServerConnection, transcribe: Transcribe, lock: ThreadPoolExecutor
    ) -> None:
        self._socket, self._transcribe, self._lock = socket, transcribe, lock
        self._heard = bytearray()
        self._turn = 0
        self._language = "en"
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async for data in self._socket:
            if isinstance(data, bytes):
                self._heard += data
                await self._send({"type": "chunk_received"})
                continue
            message = json.loads(data)
            if message["type"] == "session":
                self._language = message.get("language") or "en"
                session_id = message["session_id"]
                await self._send({"type": "session_ack", "session_id": session_id})
            elif message["type"] == "segment_end":
                self._end_segment()

    def _end_segment(self) -> None:
        pcm = np.frombuffer(bytes(self._heard), "<i2").astype(np.float32) / 32768
        task = asyncio.create_task(self._answer(self._turn, pcm))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        self._heard.clear()
        self._turn += 1

    async def _answer(self, turn: int, pcm: Any) -> None:
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._lock, self._transcribe, pcm, self._language)
        await self._send({"type": "transcription", "turn": turn, "text": text})
        answer = {"type": "chatbot_response", "turn": turn, "transcription": text, "response": ""}
        await self._send(answer)
        await self._send({"type": "segment_processed", "turn": turn})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send(json.dumps(message))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    transcribe = ENGINES[args.engine](args.model, args.threads)
    transcribe(np.zeros(16_000, np.float32), "en")
    lock = ThreadPoolExecutor(1)

    async def handle(socket: ServerConnection) -> None:
        await Listener(socket, transcribe, lock).run()

    async with serve(handle, "127.0.0.1", args.port, compression=None, max_size=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
