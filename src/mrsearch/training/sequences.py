"""Token sequences as padded tensors, and the model's log-probabilities of chosen tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Scored(NamedTuple):
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


def score_tokens(model: Any, token_ids_BT: Tensor, chosen_BT: Tensor, temperature: float = 1.0) -> Scored:
    """Log-probabilities [K] of the tokens that `chosen_BT` marks, in row order, given all tokens before them.

    Rows are padded on the right, which causal attention never looks at. The first token of a row has no predecessor
    and may not be chosen. Only the chosen positions pass through the output layer.
    """
    assert not bool(chosen_BT[:, 0].any()), "the first token of a sequence has no context to be predicted from"
    hidden = model.get_decoder()(input_ids=token_ids_BT[:, :-1], use_cache=False).last_hidden_state
    logits_KV = model.get_output_embeddings()(hidden[chosen_BT[:, 1:]]).float() / temperature
    distribution = torch.log_softmax(logits_KV, -1)
    logprobs = distribution.gather(-1, token_ids_BT[:, 1:][chosen_BT[:, 1:]][:, None])[:, 0]
    with torch.no_grad():
        entropy = -(distribution.exp() * distribution).sum(-1)
    return Scored(logprobs, entropy)
