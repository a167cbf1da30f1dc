"""Whether a folder holds a whole model that this project can use, found out before anything is run with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrsearch.config.protocol import Protocol

LFS = b"version https://git-lfs"
"""How a file begins that stands for one that git-lfs has not brought."""


def check_folder(folder: Path, protocol: Protocol) -> None:
    """ValueError, with file and remedy, for a folder whose model would fail later or give silently wrong results.

    Reads every weight once.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: is no folder: models.*.path names a Hugging Face model folder")
    _check_pointers(folder)
    config = _read_config(folder)
    weights = _weight_files(folder)
    _check_values(weights)
    _check_keys(folder, config)
    _check_tokenizer(folder, config, protocol)


def _check_pointers(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(LFS)) == LFS:
                    raise ValueError(
                        f"{path}: is a git-lfs pointer, not the file: run `git lfs pull` in its repository"
                    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a Hugging Face model folder: it holds no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error}): download it again") from error
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if not isinstance(config, dict) or config.get("model_type") not in CONFIG_MAPPING_NAMES:
        kind = config.get("model_type") if isinstance(config, dict) else None
        raise ValueError(
            f"{path}: model_type {kind!r} is not one that the installed transformers knows, and code in the folder is "
            "not run: choose a model of a known architecture"
        )
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise ValueError(f"{path}: the weights are quantised ({method}): take the repository of the whole weights")
    return config


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{index}: is no index of weights ({error}): download it again") from error
    else:
        names = ["model.safetensors"]
    for name in names:
        path = folder / name
        if path.is_file():
            continue
        if not index.is_file() and any(folder.glob("*.bin")):
            raise ValueError(
                f"{path}: is missing, and .bin files are not read because they may run code: convert the model with "
                "save_pretrained, or take a revision with safetensors"
            )
        raise ValueError(f"{path}: is missing: download the model's weights whole")
    return [folder / name for name in names]


def _check_values(files: list[Path]) -> None:
    import torch
    from safetensors import SafetensorError, safe_open

    for path in files:
        try:
            with safe_open(path, framework="pt") as weights:
                names = list(weights.keys())
                if not names:
                    raise ValueError(f"{path}: holds no weights: download it again")
                for name in names:
                    tensor = weights.get_tensor(name)
                    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                        raise ValueError(f"{path}: {name} holds NaN or infinite values: take another checkpoint")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: is empty, damaged or cut off ({error}): download it again") from error


def _check_keys(folder: Path, config: dict[str, Any]) -> None:
    """Loads the weights as a generation does; what they lack would be drawn at random."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from mrsearch.policy.causal_model import load_model

    if config["model_type"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(
            f"{folder / 'config.json'}: model_type {config['model_type']!r} is no language model that generates: "
            "choose a causal language model"
        )
    try:
        _, loading = load_model(folder, "auto", generates=False, output_loading_info=True)
    except (RuntimeError, OSError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder}: weights and config.json do not fit together ({reason}): download both") from error
    for problem in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, loading[problem])):
            raise ValueError(
                f"{folder}: {len(names)} weights are missing or of another shape ({names[0]}); random numbers would "
                "stand for them: download the model whole"
            )


def _check_tokenizer(folder: Path, config: dict[str, Any], protocol: Protocol) -> None:
    from jinja2 import TemplateError

    from mrsearch.agent.renderer import Renderer
    from mrsearch.policy.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if rows is not None and largest >= rows:
        raise ValueError(
            f"{folder / 'tokenizer.json'}: token ids reach {largest}, and the model has {rows} embeddings: take the "
            "tokenizer that belongs to the weights"
        )
    try:
        renderers = [Renderer(tokenizer, protocol) for _ in range(2)]
        prompts = [renderer.first_prompt("search", "question") for renderer in renderers]
        if prompts[0] != prompts[1]:
            raise ValueError("the chat template gives another prompt each time: give it another one")
    except TemplateError as error:
        remedy = "set protocol.prompts.system: null" if protocol.prompts.system is not None else "give it another one"
        raise ValueError(f"{folder}: the chat template refuses the prompts ({error}): {remedy}") from error
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
