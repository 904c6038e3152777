"""What the errors of many servers mean. Texts are those of the servers' own sources."""

from __future__ import annotations

import pytest

from engine.llm.chunk_error import ChunkError, Overflow, read_error

TOLD = {
    "OpenAI, older vLLM": "This model's maximum context length is 4096 tokens. However, you "
    "requested 5500 tokens (5000 in the messages, 500 in the completion). Please reduce the length "
    "of the messages or completion.",
    "older vLLM, no max_tokens": "This model's maximum context length is 4096 tokens. However, "
    "you requested 5000 tokens in the messages, Please reduce the length of the messages.",
    "OpenAI": "This model's maximum context length is 4096 tokens. However, your messages "
    "resulted in 5000 tokens. Please reduce the length of the messages.",
    "OpenRouter": "This endpoint's maximum context length is 4096 tokens. However, you requested "
    "about 5500 tokens (5000 of text input, 500 in the output).",
    "vLLM, prompt": "This model's maximum context length is 4096 tokens. However, your request has "
    "5000 input tokens. Please reduce the length of the input messages.",
    "vLLM, reply": "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's "
    "maximum context length is 4096 tokens and your request has 5000 input tokens "
    "(512 > 4096 - 5000).",
    "newer vLLM": "This model's maximum context length is 4096 tokens. However, you requested 500 "
    "output tokens and your prompt contains at least 5000 input tokens, for a total of at least "
    "5500 tokens. Please reduce the length of the input prompt or the number of requested output "
    "tokens. (parameter=input_tokens, value=5000)",
    "vLLM's engine": "The decoder prompt (length 5000) is longer than the maximum model length of "
    "4096. Make sure that `max_model_len` is no smaller than the number of text tokens.",
    "SGLang, prompt": "The input (5000 tokens) is longer than the model's context length "
    "(4096 tokens).",
    "SGLang, all": "Requested token count exceeds the model's maximum context length of 4096 "
    "tokens. You requested a total of 5500 tokens: 5000 tokens from the input messages and 500 "
    "tokens for the completion. Please reduce the number of tokens in the input messages or the "
    "completion to fit within the limit.",
    "SGLang's scheduler": "Input length (5000 tokens) exceeds the maximum allowed length "
    "(4096 tokens).",
    "TabbyAPI": "Prompt length 5000 is greater than max_seq_len 4096",
    "TabbyAPI, all": "Request length 5000 + 512 is greater than max_seq_len 4096",
    "TensorRT-LLM": "The sum of prompt length (5000.0), query length (0) should not exceed "
    "max_num_tokens (4096)",
    "llama.cpp": "request (5000 tokens) exceeds the available context size (4096 tokens), try "
    "increasing it",
}


@pytest.mark.parametrize("text", TOLD.values(), ids=TOLD.keys())
def test_a_prompt_too_long_says_how_long(text: str) -> None:
    expected = ChunkError(text, Overflow(5000, 4096))
    assert read_error({"message": text, "code": 400}) == expected
    assert read_error(text) == expected


def test_llama_cpp_has_fields_for_the_numbers() -> None:
    error = {"type": "exceed_context_size_error", "message": "m", "n_prompt_tokens": 9, "n_ctx": 4}
    assert read_error(error) == ChunkError("m", Overflow(9, 4))


@pytest.mark.parametrize(
    "error",
    [
        {"message": "the request exceeds the available context size, try increasing it"},
        {"message": "the input length exceeds the context length"},  # Ollama
        {"message": "Too much.", "code": "context_length_exceeded"},
        {"message": "Too much.", "type": "exceed_context_size_error", "n_ctx": None},
    ],
)
def test_a_prompt_too_long_need_not_say_how_long(error: dict[str, object]) -> None:
    assert read_error(error).overflow == Overflow()


@pytest.mark.parametrize(
    ("overflow", "sizes"),
    [
        (Overflow(9, 4), (9, 4)),
        (Overflow(9), (9, 4)),
        (Overflow(None, 4), (7, 4)),
        (Overflow(None, 8), (8, 8)),  # our estimate was too low
        (Overflow(), (7, 3)),
    ],
)
def test_sizes_that_are_not_told_are_guessed_so_that_something_must_go(
    overflow: Overflow, sizes: tuple[int, int]
) -> None:
    assert overflow.sizes(estimated_tokens=7) == sizes


@pytest.mark.parametrize(
    ("error", "field"),
    [
        ({"message": "m", "code": "unsupported_parameter", "param": "top_p"}, "top_p"),
        ({"message": "Unsupported value: 'temperature' does not support 0.0"}, "temperature"),
        ({"message": "'max_tokens' is not supported with this model."}, "max_tokens"),
        ({"message": "Jinja Exception: System role not supported"}, "system"),
        ({"message": "Conversation roles must alternate user/assistant/user/..."}, "system"),
        ({"message": "Only user and assistant roles are supported!"}, "system"),
        (
            {"message": "After the optional system message, conversation roles must alternate"},
            None,
        ),
        ({"message": "max_completion_tokens is too large: 9. This model supports at most 8"}, None),
        ({"message": "max_tokens must be at least 1, got 0"}, None),
    ],
)
def test_only_the_refusal_of_a_field_itself_means_that_it_is_not_supported(
    error: dict[str, str], field: str | None
) -> None:
    assert read_error(error) == ChunkError(error["message"], unsupported=field)


def test_any_other_error_is_its_message() -> None:
    assert read_error({"code": 500, "message": "boom"}) == ChunkError("boom")
    assert read_error("boom") == ChunkError("boom")
