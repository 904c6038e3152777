"""Chat templates as models bring them: what they may use, and what they may not."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from templates import (
    GEMMA_2,
    GEMMA_TOKENS,
    MISTRAL_01,
    MISTRAL_02,
    MISTRAL_TOKENS,
    QWEN_3_ENDING,
)

from engine.errors import LlmFailed, ModelError
from engine.llm.chat_template import ChatTemplate, load_chat_template
from engine.types import Message

HELLO = (Message("user", "hello"),)


def render(source: str, **tokens: str) -> str:
    return ChatTemplate(source, tokens).render(HELLO)


def folder(path: Path, **config: Any) -> Path:
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def test_blocks_leave_no_blank_lines() -> None:
    """``trim_blocks`` and ``lstrip_blocks``, without which every template is off by spaces."""
    line = "  {% if true %}\n{{ m.role }}: {{ m.content }}\n  {% endif %}\n"
    source = "{% for m in messages %}\n" + line + "{% endfor %}"
    assert render(source) == "user: hello\n"


def test_the_assistants_turn_is_asked_for() -> None:
    assert render("{% if add_generation_prompt %}Go{% endif %}{{ tools is none }}") == "GoTrue"


def test_tokens_of_the_model_can_be_named() -> None:
    assert render("{{ bos_token }}|{{ eos_token }}", bos_token="<s>") == "<s>|"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "hello"),
        ('{{ {"k": "ü"} | tojson }}', '{"k": "ü"}'),
        ("{{ strftime_now('%Y') }}", str(datetime.now().year)),
    ],
)
def test_what_templates_may_use(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[5].content }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_goes_wrong_in_a_template_is_that_replys(source: str) -> None:
    with pytest.raises(LlmFailed, match="refuses this conversation"):
        render(source)


def test_a_template_that_is_none() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        ChatTemplate("{% for %}", {})


def test_templates_as_they_lie_in_folders(tmp_path: Path) -> None:
    config = {
        "chat_template": [
            {"name": "tool_use", "template": "tools"},
            {"name": "default", "template": "{{ bos_token }}{{ eos_token }}"},
        ],
        "bos_token": {"content": "<s>", "lstrip": False},
        "eos_token": "</s>",
        "pad_token": None,
    }
    assert load_chat_template(folder(tmp_path, **config)).render(HELLO) == "<s></s>"
    (tmp_path / "chat_template.jinja").write_text("from a file")
    assert load_chat_template(tmp_path).render(HELLO) == "from a file"


def test_a_model_that_cannot_converse(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        load_chat_template(folder(tmp_path))
    with pytest.raises(ModelError, match=r"tokenizer_config\.json"):
        load_chat_template(tmp_path / "nowhere")


def test_a_system_role_that_is_known_is_used() -> None:
    source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    messages = (Message("system", "Be brief."), *HELLO)
    assert ChatTemplate(source, {}).render(messages) == "<system>Be brief.<user>hello"


@pytest.mark.parametrize(
    ("source", "tokens", "prompt"),
    [
        (MISTRAL_01, MISTRAL_TOKENS, "<s>[INST] {0} [/INST]{1}</s> [INST] {2} [/INST]"),
        (MISTRAL_02, MISTRAL_TOKENS, "<s>[INST] {0} [/INST]{1}</s>[INST] {2} [/INST]"),
        (
            GEMMA_2,
            GEMMA_TOKENS,
            "<bos><start_of_turn>user\n{0}<end_of_turn>\n<start_of_turn>model\n{1}<end_of_turn>\n"
            "<start_of_turn>user\n{2}<end_of_turn>\n<start_of_turn>model\n",
        ),
    ],
)
def test_where_no_system_role_is_known_its_text_leads_the_first_turn(
    source: str, tokens: dict[str, str], prompt: str
) -> None:
    template = ChatTemplate(source, tokens)
    messages = (*HELLO, Message("assistant", "Hi!"), Message("user", "go on"))
    assert template.render(messages) == prompt.format("hello", "Hi!", "go on")
    led = template.render((Message("system", "Be brief."), *messages))
    assert led == prompt.format("Be brief.\n\nhello", "Hi!", "go on")


def test_a_system_message_that_would_be_passed_over_is_not_lost() -> None:
    source = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    messages = (Message("system", "Be brief."), *HELLO)
    assert ChatTemplate(source, {}).render(messages) == "Be brief.\n\nhello"


def test_a_reply_that_is_spoken_has_no_thoughts() -> None:
    empty = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert render(QWEN_3_ENDING) == empty
