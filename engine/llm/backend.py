"""The seam for language models: requests in, deltas out, one thread of the lane's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engine.types import GenerateRequest, LlmEvent


class LlmBackend(Protocol):
    """Calls come from the lane's thread only.

    Every submitted request ends in exactly one ``ResponseDelta`` with a ``finish_reason``, or in
    exactly one ``Failure``; after that nothing more is said of it. A backend that works on
    threads of its own (llama.cpp, HTTP) calls ``wake`` when ``step`` has something to collect;
    one that works inside ``step`` (exllamav2) says so with ``busy``.
    """

    name: str

    @property
    def free(self) -> int:
        """How many more requests ``submit`` can take now."""
        ...

    @property
    def problem(self) -> str | None:
        """Why it cannot answer now, for people; None if it can. May pass. Suits any thread."""
        ...

    @property
    def busy(self) -> bool:
        """True if ``step`` should be called again at once, without waiting for ``wake``."""
        ...

    def submit(self, request: GenerateRequest) -> None: ...

    def cancel(self, key: int, turn_id: int) -> None:
        """Stop a request soon; idempotent. Its last delta says ``cancelled``."""
        ...

    def forget(self, key: int) -> None:
        """A session has gone: its slot and prefix cache may serve others."""
        ...

    def step(self) -> list[LlmEvent]: ...

    def warmup(self) -> None: ...

    def close(self) -> None: ...


Wake = Callable[[], None]
