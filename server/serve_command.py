"""``antiphon serve``: a flag for every setting, made from the settings themselves."""

from __future__ import annotations

import argparse
import os
from typing import Any, get_args

from server.config import Settings, allowed
from server.sources import flag, load

_GROUPS = {
    "server": "where it listens and who may connect",
    "speech": "hearing: voice activity detection and Whisper",
    "language model": "answering",
    "limits": "what bounds memory and waiting (docs/LIMITS.md says what happens at each)",
}
_SPEECH = ("asr", "vad_", "partial_", "window_")
_LANGUAGE_MODEL = ("llm", "system", "early_start")
_SERVER = {
    "home", "device", "threads", "host", "port", "origins",
    "auth_token", "auth_token_file", "tls_cert", "tls_key",
}  # fmt: skip
_METAVARS = {
    "asr_model": "NAME|DIR",
    "llm_model": "NAME|FILE",
    "llm_url": "URL",
    "llm_extra_body": "JSON",
    "home": "DIR",
    "host": "ADDRESS",
    "origins": "ORIGIN,...",
    "auth_token": "TOKEN",
    "asr_compute_type": "TYPE",
    "system": "TEXT",
}
_UNITS = {"s": "SECONDS", "ms": "MS", "bytes": "BYTES", "chars": "CHARS", "tokens": "TOKENS"}
_EPILOG = """\
Every flag is also a key of the TOML file (--asr-model: asr_model) and a variable
(ANTIPHON_ASR_MODEL). Later wins: defaults, file, variables, flags.

A model is named as in `antiphon models list`, or is a local folder or file; a speech
model may also be a name on the Hugging Face hub, such as large-v3-turbo.

  antiphon serve --asr-model tiny.en --llm echo
  antiphon serve --config antiphon.toml --host 0.0.0.0 --auth-token-file token.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag for each field of ``Settings``, in groups, its default and bounds in the help."""
    parser.usage = f"{parser.prog} [--config FILE] [--SETTING VALUE ...]"
    parser.epilog = _EPILOG
    parser.add_argument(
        "--config", default=argparse.SUPPRESS, metavar="FILE", help="TOML file of settings"
    )
    groups = {name: parser.add_argument_group(name, about) for name, about in _GROUPS.items()}
    for name in Settings.model_fields:
        groups[group(name)].add_argument(
            flag(name),
            dest=name,
            default=argparse.SUPPRESS,
            metavar=_metavar(name),
            help=_help(name).replace("%", "%%"),
        )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    settings = load(given(args), os.environ)
    from server.app import run as serve  # after the settings, so that a wrong one is told at once

    return serve(settings)


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The settings among the arguments that were given."""
    known = {"config", *Settings.model_fields}
    return {name: value for name, value in vars(args).items() if name in known}


def group(name: str) -> str:
    """Under which heading of the help a setting stands."""
    if name.startswith(_SPEECH):
        return "speech"
    if name.startswith(_LANGUAGE_MODEL):
        return "language model"
    return "server" if name in _SERVER else "limits"


def _metavar(name: str) -> str:
    if choices := _choices(name):
        return "{" + ",".join(choices) + "}"
    if name.endswith(("_file", "_cert", "_key")):
        return "FILE"
    return _METAVARS.get(name) or _UNITS.get(name.rpartition("_")[2], "N")


def _choices(name: str) -> tuple[str, ...]:
    values = get_args(Settings.model_fields[name].annotation)
    return values if all(isinstance(value, str) for value in values) else ()


def _help(name: str) -> str:
    field = Settings.model_fields[name]
    default = field.get_default(call_default_factory=True, validated_data={})
    notes = [] if default in (None, ()) else [f"default: {default}"]
    if not _choices(name) and (bounds := allowed(name)):
        notes.append(bounds)
    return f"{field.description}" + (f" ({'; '.join(notes)})" if notes else "")
