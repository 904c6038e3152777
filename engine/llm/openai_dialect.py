"""What one OpenAI-compatible server does not take, learnt from its refusals and then kept to.

Newer models of OpenAI refuse ``max_tokens`` and want ``max_completion_tokens``; those that reason
take no ``temperature`` and no ``top_p`` but their own. The chat templates of some models, such as
Gemma 2 and the first Mistral, know no system role.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from engine.llm.chunk_error import SYSTEM
from engine.llm.prompt import fold_system

# By what is refused: what happens to it, for the log.
_INSTEAD = {
    "max_tokens": "sent as `max_completion_tokens`",
    "temperature": "left out",
    "top_p": "left out",
    SYSTEM: "put before the user's first words",
}

log = logging.getLogger(__name__)


class Dialect:
    """Belongs to one server and one model."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def of(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """``body`` as this server takes it: JSON, while its ``messages`` still are ours."""
        said = {name: value for name, value in body.items() if name not in self._refused}
        if "max_tokens" in self._refused:
            said["max_completion_tokens"] = body["max_tokens"]
        messages = body["messages"]
        if SYSTEM in self._refused:
            messages = fold_system(messages)
        said["messages"] = [{"role": m.role, "content": m.content} for m in messages]
        return said

    def learn(self, refused: str | None, sent: Mapping[str, Any]) -> bool:
        """``sent`` was refused for that, as never taken: whether another try makes sense."""
        if refused not in _INSTEAD or refused not in {*sent, sent["messages"][0]["role"]}:
            return False
        if refused not in self._refused:
            log.warning(
                "the language model's server takes no `%s`: it is %s from now on",
                refused,
                _INSTEAD[refused],
            )
            self._refused.add(refused)
        return True
