"""What one OpenAI-compatible server does not take, learnt from its refusals and then kept to.

Newer models of OpenAI refuse ``max_tokens`` and want ``max_completion_tokens``; those that reason
take no ``temperature`` and no ``top_p`` but their own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

# By field: its other name, or None where the request can do without it.
_INSTEAD = {"max_tokens": "max_completion_tokens", "temperature": None, "top_p": None}

log = logging.getLogger(__name__)


class Dialect:
    """Belongs to one server and one model."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def of(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """``body`` as this server takes it."""
        said = {name: value for name, value in body.items() if name not in self._refused}
        for name in self._refused & body.keys():
            if (other := _INSTEAD[name]) is not None:
                said[other] = body[name]
        return said

    def learn(self, field: str | None, sent: Mapping[str, Any]) -> bool:
        """``field`` of ``sent`` was refused as unsupported: whether another try makes sense."""
        if field not in _INSTEAD or field not in sent:
            return False
        if field not in self._refused:
            instead = _INSTEAD[field]
            log.warning(
                "the language model's server takes no `%s`: it is %s from now on",
                field,
                "left out" if instead is None else f"sent as `{instead}`",
            )
            self._refused.add(field)
        return True
