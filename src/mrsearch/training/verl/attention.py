"""Which attention a training with verl uses. Sequences are packed with every one of them."""

from __future__ import annotations

import importlib
import logging

from mrsearch.config.verl import VerlTraining

log = logging.getLogger(__name__)
FLASH = "flash_attention_2"


def attention_implementation(settings: VerlTraining, on_cpu: bool) -> str:
    """The name that transformers knows it by, resolved where the training runs and logged in one line.

    ValueError where the study names flash-attn and it cannot be imported, or where sequence parallelism, which verl
    has for flash-attn's kernels alone, would meet another attention.
    """
    name, reason = _resolved(settings.attention, on_cpu)
    if settings.sequence_parallel > 1 and "flash" not in name:
        raise ValueError(
            f"training.verl.sequence_parallel ({settings.sequence_parallel}) needs flash-attn's kernels, and attention "
            f"is {name}: install flash-attn, name a prebuilt kernel in training.verl.attention, or set "
            "sequence_parallel: 1"
        )
    log.info("attention: %s (%s)", name, reason)
    return name


def _resolved(attention: str, on_cpu: bool) -> tuple[str, str]:
    if attention == "auto":
        if on_cpu:
            return "sdpa", "no GPU"
        error = _flash_attn_error()
        return (FLASH, "flash-attn imports") if error is None else ("flex_attention", f"flash-attn: {error}")
    if attention == FLASH and (error := _flash_attn_error()) is not None:
        raise ValueError(
            f"training.verl.attention is {FLASH}, and flash-attn cannot be imported ({error}): install it, or set auto"
        )
    return attention, "as the study says"


def _flash_attn_error() -> str | None:
    """Why flash-attn cannot be imported here; None where it can."""
    try:
        importlib.import_module("flash_attn")
    except Exception as error:  # a wheel for another torch or CUDA fails in its loader, with whatever that raises
        return f"{type(error).__name__}: {error}"
    return None
