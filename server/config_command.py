"""``antiphon config``: the settings that ``serve`` would use, as a TOML file."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from server.serve_command import add_arguments, given
from server.sources import load

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Print every setting; those without a value, and the token, as comments."""
    settings = load(given(args), os.environ)
    values = settings.model_dump(mode="json")
    print("\n".join(_line(name, value) for name, value in values.items()))
    return 0


def _line(name: str, value: Any) -> str:
    if value is None:
        return f"# {name} is not set"
    if name == "auth_token":
        return f"# {name} is set"
    return f"{name} = {json.dumps(value)}"  # JSON's strings, numbers and lists are TOML's too
