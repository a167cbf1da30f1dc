"""Whether a folder holds a whole model that this project can use, found out before anything is run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsearch.config.protocol import Protocol
from mrsearch.files import json_object
from mrsearch.policy.weight_files import check_values, left_out, weight_files

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
    check_values(weight_files(folder))
    _check_model(folder, config)
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
    config = json_object(path, "download it again")
    for name in ("generation_config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            json_object(folder / name, "mend or delete it")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise ValueError(
            f"{path}: model_type {config.get('model_type')!r} is not one that the installed transformers knows, and "
            "code in the folder is not run: choose a model of a known architecture"
        )
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise ValueError(f"{path}: the weights are quantised ({method}): take the repository of the whole weights")
    return config


def _check_model(folder: Path, config: dict[str, Any]) -> None:
    """Loads the weights as a generation does; what they lack would be drawn at random, what they have too much would
    be left out."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from mrsearch.policy.causal_model import load_model

    if config["model_type"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(
            f"{folder / 'config.json'}: model_type {config['model_type']!r} is no language model that generates: "
            "choose a causal language model"
        )
    try:
        model, loading = load_model(folder, "auto", generates=False, output_loading_info=True)
    except Exception as error:  # the library raises what it likes, its own kinds for single values among them
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder}: weights and config.json do not fit together ({reason}): download both") from error
    for problem in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, loading[problem])):
            raise ValueError(
                f"{folder}: {len(names)} weights are missing or of another shape ({names[0]}); random numbers would "
                "stand for them: download the model whole"
            )
    if names := left_out(list(map(str, loading["unexpected_keys"]))):
        raise ValueError(
            f"{folder}: {len(names)} weights are of no layer that config.json has ({names[0]}) and would be left out: "
            "take the config.json that belongs to the weights"
        )
    _check_output(folder, model)


def _check_output(folder: Path, model: Any) -> None:
    """A model that this process can generate with gives numbers for a few tokens."""
    import torch

    from mrsearch.policy.architectures import require_supported

    try:
        require_supported(model.config)
    except ValueError:
        return
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[0, 1, 2]])).logits
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(
            f"{folder}: the model's output is NaN or infinite, though no weight is: a value of config.json is wrong, "
            "download it again"
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
    _check_ends(folder, config, rows)
    try:
        renderers = [Renderer(tokenizer, protocol) for _ in range(2)]
        prompts = [renderer.first_prompt("search", "question") for renderer in renderers]
        if prompts[0] != prompts[1]:
            raise ValueError("the chat template gives another prompt each time: give it another one")
    except (TemplateError, ArithmeticError, TypeError, LookupError, RecursionError) as error:
        remedy = "set protocol.prompts.system: null" if protocol.prompts.system is not None else "give it another one"
        raise ValueError(f"{folder}: the chat template refuses the prompts ({error}): {remedy}") from error
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _check_ends(folder: Path, config: dict[str, Any], rows: int | None) -> None:
    """Token ids that end a generation are tokens of the model; others would never end one."""
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        ends = json_object(path, "mend or delete it").get("eos_token_id") if path.is_file() else None
        for end in ends if isinstance(ends, list) else [ends]:
            if end is not None and not (type(end) is int and 0 <= end < (rows or end + 1)):
                raise ValueError(
                    f"{path}: eos_token_id holds {end!r}, which is no token of the model ({rows} embeddings): take the "
                    "file that belongs to the weights"
                )
