"""Where settings come from: defaults, a TOML file, ``ANTIPHON_*`` variables, flags; in that order.

Each value is parsed and checked once. Unknown names are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import ConfigError
from server.config import Settings, allowed

ENV_PREFIX = "ANTIPHON_"
ENV_CONFIG = "ANTIPHON_CONFIG"
# The first two are read elsewhere, the last three are the tests' own.
_ENV_NOT_SETTINGS = {
    ENV_CONFIG,
    "ANTIPHON_LLM_KEY",
    "ANTIPHON_SPEECH",
    "ANTIPHON_CHROMIUM",
    "ANTIPHON_ARTIFACTS",
}


def load(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Settings from every source; ``flags`` holds those that were given, by field name.

    The TOML file is ``flags["config"]``, else ``ANTIPHON_CONFIG``. Raises ``ConfigError`` that
    names the key, where it came from and what is allowed.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    file = flags.get("config") or environ.get(ENV_CONFIG)
    if file:
        values |= (given := _from_file(Path(file)))
        origin |= {name: f"{name} in {file}" for name in given}
    values |= (given := _from_environment(environ))
    origin |= {name: variable(name) for name in given}
    values |= (given := {name: value for name, value in flags.items() if name != "config"})
    origin |= {name: flag(name) for name in given}
    _add_token(values, origin)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(error, values, origin))) from None


def variable(name: str) -> str:
    """The environment variable of a field."""
    return ENV_PREFIX + name.upper()


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for name in values:
        if name not in Settings.model_fields:
            raise ConfigError(f"{path}: unknown setting {name}{_near(name, Settings.model_fields)}")
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    variables = {variable(name): name for name in Settings.model_fields}
    values = {}
    for key, value in environ.items():
        if not key.startswith(ENV_PREFIX) or key in _ENV_NOT_SETTINGS:
            continue
        if key not in variables:
            raise ConfigError(f"unknown variable {key}{_near(key, variables)}")
        values[variables[key]] = value
    return values


def _add_token(values: dict[str, Any], origin: dict[str, str]) -> None:
    """Read ``auth_token_file``, so that the front end knows one token only."""
    if values.get("auth_token_file") is None:
        return
    if values.get("auth_token") is not None:
        raise ConfigError(f"{origin['auth_token']} and {origin['auth_token_file']}: give one")
    path = Path(values["auth_token_file"])
    try:
        values["auth_token"] = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin['auth_token_file']}: cannot read {path}: {error}") from error
    origin["auth_token"] = f"{path} ({origin['auth_token_file']})"


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; `antiphon serve --help` lists all"


def _explain(
    error: ValidationError, values: Mapping[str, Any], origin: Mapping[str, str]
) -> Iterable[str]:
    for detail in error.errors(include_url=False, include_context=False):
        if detail["type"] == "default_factory_not_called":
            continue  # only a consequence of another error
        message = detail["msg"].removeprefix("Value error, ")
        if not detail["loc"]:
            yield message
            continue
        name = str(detail["loc"][0])
        given = "" if _may_hold_a_key(name, values[name]) else f"{values[name]!r} is refused: "
        limits = f" (allowed: {allowed(name)})" if allowed(name) else ""
        yield f"{origin.get(name, name)}: {given}{message}{limits}"


def _may_hold_a_key(name: str, value: object) -> bool:
    """What is refused is told to a terminal or a container's log, but a key never."""
    return name == "auth_token" or (
        name == "llm_url" and not {"@", "?", "#"}.isdisjoint(str(value))
    )
