"""A model's own arithmetic in parts: its blocks, its output layer, and which of it is computed twice."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def chosen_logits(model: Any, token_ids_BT: Tensor, chosen_BT: Tensor) -> Tensor:
    """The model's own logits [K, V] after the chosen positions.

    The model runs as it is; its output layer is handed the hidden states of the chosen positions instead of its own.
    """
    hidden: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        hidden.append(output.last_hidden_state)

    def choose(_: Any, __: Any) -> tuple[Tensor]:
        return (hidden[0][chosen_BT],)

    hooks = [
        model.get_decoder().register_forward_hook(keep),
        model.get_output_embeddings().register_forward_pre_hook(choose),
    ]
    try:
        logits: Tensor = model(input_ids=token_ids_BT, use_cache=False, logits_to_keep=1).logits
    finally:
        for hook in hooks:
            hook.remove()
    return logits


def chosen_states(model: Any, token_ids_BT: Tensor, chosen_BT: Tensor) -> Tensor:
    """What the output layer reads [K, H] at the chosen positions."""
    hidden_BTH: Tensor = model.get_decoder()(input_ids=token_ids_BT, use_cache=False).last_hidden_state
    return hidden_BTH[chosen_BT]


def logits_of(model: Any, hidden_KH: Tensor) -> Tensor:
    """The model's own logits [K, V] of such states, scaling and soft limits included: it runs without its blocks."""
    from transformers.modeling_outputs import MoeModelOutputWithPast

    decoder, states_1KH = model.get_decoder(), cast(Any, hidden_KH[None])
    # This output has the fields of every decoder's; what lies on an object stands before its class's method.
    output = MoeModelOutputWithPast(last_hidden_state=states_1KH)
    decoder.forward = lambda *_, **__: output
    try:
        token_ids = hidden_KH.new_zeros((1, 1), dtype=torch.long)
        logits_1KV: Tensor = model(input_ids=token_ids, use_cache=False, logits_to_keep=0).logits
    finally:
        del decoder.forward
    return logits_1KV[0]


@contextlib.contextmanager
def recomputed_blocks(model: Any, on: bool) -> Iterator[None]:
    """Within it, backward passes compute the activations of each block again from its input, where `on`.

    Blocks alone count as in training: what lies in them, dropout above all, stays as it is. ValueError for a model
    whose blocks cannot do it.
    """
    if not on:
        yield
        return
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks: list[Any] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not blocks:
        raise ValueError(
            f"model_type {model.config.model_type!r} has no blocks that can be computed again: set "
            "local.gradient_checkpointing: false"
        )
    modes = [block.training for block in blocks]
    for block in blocks:
        block.gradient_checkpointing = block.training = True
        block._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for block, mode in zip(blocks, modes, strict=True):
            block.gradient_checkpointing, block.training = False, mode
