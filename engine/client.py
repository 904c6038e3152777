"""The seam between the front end and the engine: in-process today, elsewhere tomorrow.

Calls never wait and come from one thread (the event loop's). What happens next arrives as events
at the ``deliver`` callback given to the engine, which is called from the lanes' threads with
events in order; the front end carries them to its own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.types import AssumedAfter, Event, GenerateRequest, Pcm, SessionOptions

Deliver = Callable[[Sequence[Event]], None]


class EngineClient(Protocol):
    """What the front end may ask of an engine."""

    asr_name: str

    @property
    def llm_name(self) -> str:
        """The language model, for people; a remote one's name may be known later."""
        ...

    @property
    def ready(self) -> bool:
        """Models are loaded and warm, and every lane is alive."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the engine is not ready, now or any more, for people; None if nothing is wrong."""
        ...

    @property
    def degraded(self) -> str | None:
        """What does not work although conversations may begin, for people; else None."""
        ...

    @property
    def dead(self) -> str | None:
        """The problem, if it will not pass while the process lives; else None."""
        ...

    def start(self) -> None:
        """Load and warm the models; takes seconds and blocks. Raises ``ModelError``."""
        ...

    def open(self, options: SessionOptions) -> int:
        """Reserve a slot and return its key. Raises ``Overloaded``."""
        ...

    def reopen(self, key: int, options: SessionOptions) -> int:
        """Pass the slot of ``key`` on to a new opening, whose key is returned.

        That is no new admission, so it is never refused. ``key`` is closed.
        """
        ...

    def feed(self, key: int, pcm: Pcm) -> None:
        """Give audio: mono float32 at 16 kHz, any length; not to be changed afterwards.

        Each fed sample is given back in an ``AudioConsumed`` event once the engine has room for
        another: the front end stops reading a socket while more than ``max_buffered_s`` is out.
        """
        ...

    def end_segment(self, key: int) -> None:
        """End the session's segment. Exactly one final ``Transcript`` or ``Failure`` follows."""
        ...

    def generate(self, request: GenerateRequest) -> None:
        """Ask for a reply. Deltas follow, the last with ``finish_reason``, or a ``Failure``.

        Raises ``Overloaded`` if the queue is full: then nothing follows.
        """
        ...

    def anticipate(self, request: GenerateRequest, after: AssumedAfter = "pause") -> None:
        """This may be asked for soon, as it seems ``after`` a pause or a finished sentence.

        Work may begin, and nothing is said of it.

        A ``generate`` with an equal request gets what was done so far; any other request of the
        session, or ``withdraw``, throws it away.
        """
        ...

    def withdraw(self, key: int, turn_id: int) -> None:
        """What was anticipated for a turn will not be asked for. Does nothing if nothing was."""
        ...

    def cancel(self, key: int, turn_id: int) -> None:
        """Stop whatever is being done for a turn: its last delta, if any, says ``cancelled``."""
        ...

    def close_session(self, key: int) -> None:
        """Free the slot; no event with this key is delivered for work not yet begun."""
        ...

    def close(self) -> None:
        """Stop the lanes and free the models; blocks until the threads have ended."""
        ...
