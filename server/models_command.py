"""``antiphon models list|pull|verify``: the embedded models on this machine."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from engine.errors import ConfigError, ModelError
from engine.models import DEFAULTS, Model, find, pull, registry, verify
from server.models_progress import show_progress
from server.sources import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what there is, and what is here")
    pulling = actions.add_parser(
        "pull", help=f"fetch and check models (without a name: {' and '.join(DEFAULTS)})"
    )
    verifying = actions.add_parser(
        "verify", help="hash the files of models again (without a name: of all that are here)"
    )
    pulling.add_argument("--all", action="store_true", help="every embedded model")
    for parser in (pulling, verifying):
        parser.add_argument("names", nargs="*", metavar="NAME", help="see `antiphon models list`")
    for parser in (listing, pulling, verifying):
        parser.add_argument(
            "--home", type=Path, metavar="DIR", help="folder of models (default: ANTIPHON_HOME)"
        )


def run(args: argparse.Namespace) -> int:
    home = args.home or load({}, os.environ).home
    console = Console(highlight=False, soft_wrap=True)
    if args.action == "list":
        return _list(home, console)
    if args.action == "pull":
        return _pull(_chosen(args.names, list(registry()) if args.all else DEFAULTS), home, console)
    here = [model.name for model in registry().values() if model.is_pulled(home)]
    return _verify(_chosen(args.names, here or DEFAULTS), home, console)


def _chosen(names: list[str], otherwise: list[str] | tuple[str, ...]) -> list[Model]:
    """All names are looked up before the first is acted on."""
    try:
        return [find(name) for name in names or otherwise]
    except ModelError as error:
        raise ConfigError(str(error)) from None


def _list(home: Path, console: Console) -> int:
    columns = ("name", "kind", "size", "licence", "state", "what")
    rows = [
        (m.name, m.kind, decimal(m.size), m.licence, _state(m, home), m.summary)
        for m in registry().values()
    ]
    if not console.is_terminal:
        for row in rows:
            print("\t".join(row))
        return 0
    table = Table(*columns, box=None, caption=f"in {home / 'models'}", caption_justify="left")
    table.columns[0].no_wrap = True  # the name is what one types
    for row in rows:
        table.add_row(*row)
    console.print(table)
    return 0


def _state(model: Model, home: Path) -> str:
    return "pulled" if model.is_pulled(home) else "-"


def _pull(models: list[Model], home: Path, console: Console) -> int:
    for model in models:
        if not model.is_pulled(home):
            with show_progress(console) as progress:
                pull(model, home, progress)
        console.print(f"{model.name}: {model.folder(home)}")
    return 0


def _verify(models: list[Model], home: Path, console: Console) -> int:
    """Every model is looked at, whatever is wrong with those before it."""
    wrong = []
    for model in models:
        try:
            with show_progress(console) as progress:
                verify(model, home, progress)
        except ModelError as error:
            wrong.append(str(error))
            continue
        console.print(f"{model.name}: all {len(model.files)} files are as registered")
    if wrong:
        raise ModelError("\n".join(wrong))
    return 0
