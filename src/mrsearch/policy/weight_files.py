"""The files of a folder's weights: which ones they are, and whether each value in them can be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mrsearch.files import json_object

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BLOCK = re.compile(r"\.\d+\.")
"""In the name of a weight: the number of its layer."""
DERIVED = ("inv_freq", "masked_bias", "attn.bias")
"""Ends of the names of what older files hold beside the weights, and models compute by themselves."""


def weight_files(folder: Path) -> list[Path]:
    """The files that a model of this folder is read from, all there; ValueError, with file and remedy, where not."""
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder / 'adapter_config.json'}: an adapter lies in the folder, which would change the model or be left "
            "out: merge it into the weights (PEFT's merge_and_unload), and save the whole model without it"
        )
    names = [SINGLE] if (folder / SINGLE).is_file() else _listed(folder / INDEX)
    for name in names:
        path = folder / name
        if path.is_file():
            continue
        if not (folder / INDEX).is_file() and any(folder.glob("*.bin")):
            raise ValueError(
                f"{path}: is missing, and .bin files are not read because they may run code: convert the model with "
                "save_pretrained, or take a revision with safetensors"
            )
        raise ValueError(f"{path}: is missing: download the model's weights whole")
    return [folder / name for name in names]


def _listed(index: Path) -> list[str]:
    """Names of the parts that the index names."""
    if not index.is_file():
        return [SINGLE]
    shards = json_object(index, "download it again").get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) else []
    if not names or not all(isinstance(name, str) and name.endswith(".safetensors") for name in names):
        raise ValueError(f"{index}: is no index of weights: download it again")
    if outside := sorted({name for name in names if Path(name).name != name}):
        raise ValueError(f"{index}: names {outside[0]!r}, which is no file of this folder: take another copy")
    return sorted(set(names))


def check_values(files: list[Path]) -> None:
    """ValueError, with file and weight, for what no training leaves: other numbers than floating-point ones, NaN,
    infinite values, matrices of zeros. Reads every weight once."""
    from safetensors import SafetensorError, safe_open

    for path in files:
        try:
            with safe_open(path, framework="pt") as weights:
                names = list(weights.keys())
                if not names:
                    raise ValueError(f"{path}: holds no weights: download it again")
                for name in names:
                    if fault := _fault(weights.get_tensor(name)):
                        raise ValueError(f"{path}: {name} {fault}")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: is empty, damaged or cut off ({error}): download it again") from error


def _fault(tensor: Any) -> str | None:
    import torch

    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        kind = str(tensor.dtype).removeprefix("torch.")
        # Older files hold masks and positions besides.
        beside = tensor.dtype is torch.bool or not _is_matrix(tensor)
        return None if beside else f"holds {kind}: take the repository of the whole weights"
    if not bool(torch.isfinite(tensor).all()):
        return "holds NaN or infinite values: take another checkpoint"
    if _is_matrix(tensor) and not bool(tensor.any()):
        return "is all zeros, as in a download that was cut: download it again"
    return None


def _is_matrix(tensor: Any) -> bool:
    return tensor.ndim == 2 and min(tensor.shape) > 1


def left_out(unexpected: list[str]) -> list[str]:
    """Those of the unexpected weights that belong to a layer which the configuration does not have."""
    return sorted(name for name in unexpected if BLOCK.search(name) and not name.endswith(DERIVED))
