"""A model's own chat template, rendered in a sandbox as Hugging Face's libraries render it.

The environment's settings, filters and globals are those of ``transformers``
(``utils/chat_template_utils.py``), so that a prompt is the one the model was trained on.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.errors import LlmFailed, ModelError
from engine.llm.prompt import Messages, fold_system, opening

_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
_PROBE = "Be brief."


class _Generation(Extension):
    """``{% generation %}`` marks what an assistant says, for training: here it is its content."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """From messages to the text that a model goes on from."""

    def __init__(self, source: str, tokens: dict[str, str]) -> None:
        """``tokens`` are those that templates name (``bos_token`` …). Raises ``ModelError``."""
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise ModelError(f"the model's chat template cannot be read: {error}") from error
        self._tokens = tokens
        self._knows_system = self._shows_system()

    def render(self, messages: Messages) -> str:
        """The prompt, up to where the assistant begins to speak. Raises ``LlmFailed``.

        Where the template knows no system role, its text leads the first user message. A model
        that may think first is told not to: who listens cannot wait, and thoughts are not spoken.
        """
        return self._render(messages if self._knows_system else fold_system(messages))

    def _shows_system(self) -> bool:
        """Some templates refuse a system message, and some pass it over."""
        try:
            return _PROBE in self._render(opening(_PROBE, "Hello."))
        except LlmFailed:
            return False

    def _render(self, messages: Messages) -> str:
        plain = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._template.render(
                messages=plain,
                add_generation_prompt=True,
                tools=None,
                enable_thinking=False,  # Qwen 3's name for it; other templates never ask
                **self._tokens,
            )
        except Exception as error:  # a template is a program: it may raise anything
            raise LlmFailed(
                f"the model's chat template refuses this conversation: {error}"
            ) from error


def load_chat_template(folder: Path) -> ChatTemplate:
    """The template of a model's folder. Raises ``ModelError``."""
    config = _read_json(folder / "tokenizer_config.json")
    source = config.get("chat_template")
    if isinstance(source, list):  # several, by name
        named = {entry["name"]: entry["template"] for entry in source}
        source = named.get("default")
    file = folder / "chat_template.jinja"
    if file.exists():  # where newer tools keep it; it wins there too
        source = file.read_text("utf-8")
    if not source:
        raise ModelError(
            f"{folder} has no chat template, in tokenizer_config.json or as chat_template.jinja: "
            "take a model that was trained to converse (its name often ends in Instruct or Chat)"
        )
    return ChatTemplate(source, named_tokens(config))


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def named_tokens(config: dict[str, Any]) -> dict[str, str]:
    """The special tokens that ``tokenizer_config.json`` names, by what they are for.

    A token is written as its text, or as an object with its text in ``content``.
    """
    found = {}
    for name in _TOKENS:
        token = config.get(name)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            found[name] = token
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    assert isinstance(content, dict), f"{path} is no object"
    return content
