"""Token sequences as padded tensors, and the model's log-probabilities of chosen tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class TokenScores(NamedTuple):
    """Log-probability and entropy of each of K chosen tokens."""

    logprobs_K: Tensor
    entropy_K: Tensor


def pad(rows: Sequence[Sequence[float]], dtype: torch.dtype, value: float = 0) -> Tensor:
    """Rows of unequal lengths as one tensor [B, T], padded on the right."""
    width = max(map(len, rows))
    out = torch.full((len(rows), width), value, dtype=dtype)
    for index, row in enumerate(rows):
        out[index, : len(row)] = torch.tensor(row, dtype=dtype)
    return out


def score_tokens(
    model: Any, token_ids_BT: Tensor, chosen_BT: Tensor, temperature: float = 1.0, *, train_entropy: bool = False
) -> TokenScores:
    """Log-probabilities [K] of the tokens that `chosen_BT` marks, in row order, given all tokens before them.

    Rows are padded on the right, which causal attention never looks at. The first token of a row has no predecessor
    and may not be chosen. Only the chosen positions pass through the output layer, and through what the model does with
    its logits beyond that (scaling, soft limits). The entropy has a gradient with `train_entropy` alone.
    """
    assert not bool(chosen_BT[:, 0].any()), "the first token of a sequence has no context to be predicted from"
    logits_KV = _chosen_logits(model, token_ids_BT[:, :-1], chosen_BT[:, 1:]).float() / temperature
    distribution = torch.log_softmax(logits_KV, -1)
    logprobs = distribution.gather(-1, token_ids_BT[:, 1:][chosen_BT[:, 1:]][:, None])[:, 0]
    with torch.set_grad_enabled(train_entropy and torch.is_grad_enabled()):
        entropy = -(distribution.exp() * distribution).sum(-1)
    return TokenScores(logprobs, entropy)


def _chosen_logits(model: Any, token_ids_BT: Tensor, chosen_BT: Tensor) -> Tensor:
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
