"""``antiphon talk FILE``: a recording, streamed in real time, and the conversation as it happens.

It is an ordinary client of docs/PROTOCOL.md: it knows nothing of the server but its address.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from engine.errors import AntiphonError
from engine.types import SAMPLE_RATE
from server.audio_file import read_pcm
from server.client import Client, ClientError
from server.talk_turn import Turn
from server.talk_view import View, latency_table, make_view

DEFAULT_URL = "ws://127.0.0.1:8000/ws/audio"
_CHUNK_MS = 100
_EVENTS = ["vad", "partial", "transcript", "token", "timings"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="any audio file")
    parser.add_argument("--url", default=DEFAULT_URL, help="the server (default: %(default)s)")
    parser.add_argument("--language", help="language spoken, e.g. en (default: detected)")
    parser.add_argument("--session-id", help="name of the session (default: a random one)")
    parser.add_argument("--token", help="bearer token, if the server wants one")
    parser.add_argument("--hotwords", help='names to expect, e.g. "Kowloon, Helstone"')
    parser.add_argument("--system", help="system prompt for this session")
    parser.add_argument("--max-tokens", type=int, help="longest reply, in tokens")
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="longest wait for the reply (default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Hold the conversation; 0 only if it was answered without an error."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        pieces = read_pcm(args.file, _CHUNK_MS)
        turn = asyncio.run(_converse(args, pieces, make_view(console)))
    except (AntiphonError, ExceptionGroup) as problem:
        error = _first(problem)
        if not isinstance(error, AntiphonError):
            raise
        print(f"antiphon talk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(latency_table(turn))
    assert turn.result is not None
    if "error" in turn.result:
        print(f"antiphon talk: {turn.result['error']}", file=sys.stderr)
        return 1
    return 0


async def _converse(args: argparse.Namespace, pieces: Iterator[bytes], view: View) -> Turn:
    client = await Client.connect(
        args.url,
        session_id=args.session_id,
        token=args.token,
        events=_EVENTS,
        language=args.language,
        hotwords=args.hotwords,
        system=args.system,
        max_tokens=args.max_tokens,
        audio={"format": "pcm_s16le", "sample_rate": SAMPLE_RATE},
    )
    turn = Turn(client.handshake_ms)
    async with client:
        with view:
            async with asyncio.TaskGroup() as tasks:
                answered = tasks.create_task(_listen(client, turn, view))
                await _speak(client, pieces, turn, view)
                done, _ = await asyncio.wait([answered], timeout=args.timeout)
                if not done:
                    raise ClientError(f"No reply came within {args.timeout:g} s (--timeout).")
    return turn


async def _speak(client: Client, pieces: Iterator[bytes], turn: Turn, view: View) -> None:
    """Send each piece when a microphone would have it: late ones do not delay the next."""
    began = time.perf_counter()
    for index, piece in enumerate(pieces, 1):
        await asyncio.sleep(began + index * _CHUNK_MS / 1e3 - time.perf_counter())
        turn.audio_sent(time.perf_counter())
        await client.send_audio(piece)
        view.show(turn)
    turn.end_sent(time.perf_counter())
    await client.end_segment()


async def _listen(client: Client, turn: Turn, view: View) -> None:
    async for message in client:
        turn.take(message, time.perf_counter())
        view.show(turn, message)
        if message.get("type") == "error":
            raise ClientError(
                f"The server reported {message.get('code')}: {message.get('message')}"
            )
        if message.get("type") == "segment_processed":
            return


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
