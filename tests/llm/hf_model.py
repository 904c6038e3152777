"""Make a small real model in Hugging Face's format (fp16) from the embedded SmolLM2 GGUF.

    python tests/llm/hf_model.py FOLDER

For tests of engines that read such folders, as exllamav2 does. The weights are those of the GGUF,
dequantised; the tokenizer is built from its vocabulary and merges.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

_CONTROL = 3  # gguf.TokenType.CONTROL: marks of the chat template
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(gguf: Path, folder: Path) -> None:
    """Write config.json, tokenizer.json, tokenizer_config.json and model.safetensors."""
    reader = GGUFReader(gguf)
    config = model_config(reader)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(reader, config), folder / "model.safetensors", {"format": "pt"})
    _write(folder / "config.json", config)
    _write(folder / "tokenizer_config.json", tokenizer_config(reader))
    tokenizer(reader).save(str(folder / "tokenizer.json"))


def model_config(reader: GGUFReader) -> dict[str, Any]:
    """Llama's configuration; ``rope_theta`` at the top level, where exllamav2 looks for it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "torch_dtype": "float16",
        "vocab_size": len(value(reader, "tokenizer.ggml.tokens")),
        "hidden_size": value(reader, "llama.embedding_length"),
        "intermediate_size": value(reader, "llama.feed_forward_length"),
        "num_hidden_layers": value(reader, "llama.block_count"),
        "num_attention_heads": value(reader, "llama.attention.head_count"),
        "num_key_value_heads": value(reader, "llama.attention.head_count_kv"),
        "max_position_embeddings": value(reader, "llama.context_length"),
        "rms_norm_eps": value(reader, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": value(reader, "llama.rope.freq_base"),
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "bos_token_id": value(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": value(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": value(reader, "tokenizer.ggml.padding_token_id"),
    }


def weights(reader: GGUFReader, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor by its name in Hugging Face's Llama, float16, ``[out, in]``."""
    heads = {
        "attn_q": config["num_attention_heads"],
        "attn_k": config["num_key_value_heads"],
    }
    found = {}
    for tensor in reader.tensors:
        name, part = hf_name(tensor.name)
        weight = dequantize(tensor.data, tensor.tensor_type)
        if part in heads:
            weight = unpermute(weight, heads[part])
        found[name] = torch.from_numpy(np.array(weight)).half()
    return found


def hf_name(name: str) -> tuple[str, str]:
    """``blk.3.attn_q.weight`` -> (``model.layers.3.self_attn.q_proj.weight``, ``attn_q``)."""
    words = name.split(".")
    if words[0] == "blk":
        return f"model.layers.{words[1]}.{_NAMES[words[2]]}.{words[3]}", words[2]
    return f"{_NAMES[words[0]]}.{words[1]}", words[0]


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of rows, in which the halves that rotate together are neighbours."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def tokenizer(reader: GGUFReader) -> Tokenizer:
    """Byte-level BPE; numbers are cut into digits, as the GGUF's ``pre`` (``smollm``) says."""
    assert value(reader, "tokenizer.ggml.pre") == "smollm"
    tokens = value(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in value(reader, "tokenizer.ggml.merges")]
    made = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    made.decoder = decoders.ByteLevel()
    kinds = value(reader, "tokenizer.ggml.token_type")
    marks = [text for text, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in marks])
    return made


def tokenizer_config(reader: GGUFReader) -> dict[str, Any]:
    tokens = value(reader, "tokenizer.ggml.tokens")
    return {
        "chat_template": value(reader, "tokenizer.chat_template"),
        "bos_token": tokens[value(reader, "tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[value(reader, "tokenizer.ggml.eos_token_id")],
        "clean_up_tokenization_spaces": False,
    }


def value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    assert field is not None, f"the GGUF has no {key}"
    return field.contents()


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    from engine.models import resolve
    from server.sources import load

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the model goes")
    arguments = parser.parse_args()
    convert(resolve("smollm2-135m-instruct", "llm", load({}, os.environ).home), arguments.folder)
    print(arguments.folder)
