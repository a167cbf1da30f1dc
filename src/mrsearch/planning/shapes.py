"""The shapes of language models: what memory and time are computed from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrsearch.config.lora import Lora
from mrsearch.config.models import HubModel, LanguageModel, TinyModel


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's sizes."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    """Numbers per head."""
    intermediate: int
    vocabulary: int
    tied: bool
    """Whether the output layer is the embedding."""
    guessed: bool = False
    """Whether the sizes were derived from a number of parameters alone."""

    @property
    def parameters(self) -> int:
        """Weights of embeddings, attention and gated feed-forward blocks; biases and norms are left out."""
        return self.layers * self.block_parameters + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def block_parameters(self) -> int:
        """Weights of one block's linear layers."""
        return sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of one block's linear layers, by the names that Llama and Qwen give them."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    def trained(self, lora: Lora | None) -> int:
        """Parameters that an optimizer moves: all, or those of adapters, of which layers with other names count as many
        as all linear layers would have."""
        if lora is None:
            return self.parameters
        sizes, modules = self.linear_layers, lora.target_modules
        layers = set(sizes) if isinstance(modules, str) else {name.rpartition(".")[2] for name in modules}
        layers = layers if layers <= set(sizes) else set(sizes)
        return self.layers * lora.rank * sum(sum(sizes[layer]) for layer in layers)

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token in bfloat16."""
        return 2 * 2 * self.layers * self.kv_heads * self.head


def _qwen25(layers: int, hidden: int, heads: int, kv_heads: int, intermediate: int, tied: bool) -> Shape:
    vocabulary = 151_936 if tied else 152_064
    return Shape(layers, hidden, heads, kv_heads, hidden // heads, intermediate, vocabulary, tied)


def _qwen3(layers: int, hidden: int, heads: int, intermediate: int, tied: bool) -> Shape:
    return Shape(layers, hidden, heads, 8, 128, intermediate, 151_936, tied)


PUBLISHED = {
    "Qwen2.5-0.5B": _qwen25(24, 896, 14, 2, 4864, True),
    "Qwen2.5-1.5B": _qwen25(28, 1536, 12, 2, 8960, True),
    "Qwen2.5-3B": _qwen25(36, 2048, 16, 2, 11008, True),
    "Qwen2.5-7B": _qwen25(28, 3584, 28, 4, 18944, False),
    "Qwen2.5-14B": _qwen25(48, 5120, 40, 8, 13824, False),
    "Qwen3-0.6B": _qwen3(28, 1024, 16, 3072, True),
    "Qwen3-1.7B": _qwen3(28, 2048, 16, 6144, True),
    "Qwen3-4B": _qwen3(36, 2560, 32, 9728, True),
    "Qwen3-8B": _qwen3(36, 4096, 32, 12288, False),
    "Llama-3.2-1B": Shape(16, 2048, 32, 8, 64, 8192, 128_256, True),
    "Llama-3.2-3B": Shape(28, 3072, 24, 8, 128, 8192, 128_256, True),
    "Llama-3.1-8B": Shape(32, 4096, 32, 8, 128, 14336, 128_256, False),
}
"""Sizes in the `config.json` of published models, by the name of their repository without -Base and -Instruct."""


def shape_of(model: LanguageModel, folder: Path | None = None) -> Shape:
    """The model's shape: of its `config.json` where `folder` has one, else as published, else guessed from its size."""
    described = folder / "config.json" if folder else None
    if described is not None and described.is_file():
        return _described(json.loads(described.read_text(encoding="utf-8")), described)
    if isinstance(model, TinyModel):
        head = model.hidden_size // model.heads
        sizes = (model.layers, model.hidden_size, model.heads, model.kv_heads, head, model.intermediate_size)
        return Shape(*sizes, model.vocabulary, tied=True)
    if isinstance(model, HubModel):
        name = model.repository.split("/")[-1].removesuffix("-Instruct").removesuffix("-Base")
        return PUBLISHED.get(name) or _guessed(model.parameters * 1e9)
    return shape_of(model, Path(model.path)) if folder is None else _guessed(_weight_bytes(Path(model.path)) / 2)


def _described(config: dict[str, Any], path: Path) -> Shape:
    try:
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        return Shape(
            layers=config["num_hidden_layers"],
            hidden=hidden,
            heads=heads,
            kv_heads=config.get("num_key_value_heads", heads),
            head=config.get("head_dim") or hidden // heads,
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", True)),
        )
    except KeyError as error:
        raise ValueError(f"{path}: lacks {error}, which memory and time are computed from") from None


def _guessed(parameters: float) -> Shape:
    """The decoder whose parameters come closest, of those with the proportions of current ones."""
    shapes = [_proportioned(layers, parameters < 4e9) for layers in range(1, 129)]
    return min(shapes, key=lambda shape: abs(shape.parameters - parameters))


def _proportioned(layers: int, tied: bool) -> Shape:
    """A decoder about a hundred times as wide as it is deep."""
    hidden = max(128, round(100 * layers / 128) * 128)
    heads = hidden // 128
    return Shape(layers, hidden, heads, min(heads, 8), 128, 3 * hidden, 152_000, tied, guessed=True)


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
