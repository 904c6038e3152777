"""How ``antiphon talk`` shows a turn: live in a terminal, or as plain lines in a log."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from server.client import Message
from server.talk_turn import Turn

_HEARING = {True: Text("● speech", "bold green"), False: Text("○ quiet", "dim")}


class View(AbstractContextManager["View"], Protocol):
    def show(self, turn: Turn, message: Message | None = None) -> None:
        """The turn changed, by ``message`` or by audio that was sent."""
        ...


class LiveView(View):
    """Redraws the whole turn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=20, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, turn: Turn, message: Message | None = None) -> None:
        self._live.update(render(turn))


class PlainView(View):
    """Appends: each partial that says something new is a line, the reply grows along its own."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._in_reply = False
        self._partial = ""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_reply()

    def show(self, turn: Turn, message: Message | None = None) -> None:
        match message:
            case {"type": "partial_transcription", "text": text} if text != self._partial:
                self._partial = text
                self._line(f"hearing   {text}")
            case {"type": "transcription", "text": text}:
                self._line(f"you       {text}")
            case {"type": "response_delta", "text": text}:
                self._write(str(text) if self._in_reply else f"antiphon  {text}")
                self._in_reply = True
            case {"type": "chatbot_response"} if not self._in_reply and turn.reply:
                self._line(f"antiphon  {turn.reply}")

    def _line(self, text: str) -> None:
        self._end_reply()
        self._write(f"{text}\n")

    def _end_reply(self) -> None:
        if self._in_reply:
            self._write("\n")
        self._in_reply = False

    def _write(self, text: str) -> None:
        self._console.out(text, end="", highlight=False)
        self._console.file.flush()


def make_view(console: Console) -> View:
    return LiveView(console) if console.is_terminal else PlainView(console)


def render(turn: Turn) -> Group:
    """The turn as it stands: settled words bold, moving words dim."""
    you = Text("you       ", "cyan")
    if turn.transcript is not None:
        you.append(turn.transcript, "bold default")
    else:
        you.append(turn.partial[: turn.stable_chars], "bold default")
        you.append(turn.partial[turn.stable_chars :], "dim italic default")
    sent_s = len(turn.acks_ms) / 10
    status = (
        Text("          ").append_text(_HEARING[turn.hearing]).append(f"  {sent_s:4.1f} s", "dim")
    )
    lines = [you] if turn.segment_ended is not None else [status, you]
    if turn.reply:
        lines.append(Text("antiphon  ", "magenta").append(turn.reply, "default"))
    return Group(*lines)


def latency_table(turn: Turn) -> Table:
    table = Table(title="\nLatency", title_justify="left", title_style="bold")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("of it in the server", justify="right")
    for stage, latency_ms, server_ms in turn.latencies():
        own = "" if server_ms is None else f"{server_ms:,.1f}"
        table.add_row(stage, f"{latency_ms:,.1f}", own)
    return table
