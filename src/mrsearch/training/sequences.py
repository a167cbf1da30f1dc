"""Token sequences as padded tensors, and the model's log-probabilities of chosen tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mrsearch.config.local import LocalUpdates
from mrsearch.policy.arithmetic import autocast, device_of
from mrsearch.training.passes import chosen_logits, chosen_states, logits_of

DEFAULTS = LocalUpdates()
"""Float32, and a whole pass at once."""


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


def micro_batches(lengths: Sequence[int], count: int, tokens: int | None) -> list[range]:
    """Runs of consecutive sequences for one pass each: of `count` sequences, or of as many as fit into `tokens` tokens
    once all are padded to the longest of the run.

    ValueError for a sequence that is longer than `tokens` by itself.
    """
    if tokens is None:
        return [range(begin, min(begin + count, len(lengths))) for begin in range(0, len(lengths), count)]
    runs: list[range] = []
    begin, longest = 0, 0
    for end, length in enumerate(lengths):
        if length > tokens:
            raise ValueError(f"local.max_token_len_per_gpu ({tokens}) has no room for {length} tokens: raise it")
        longest = max(longest, length)
        if longest * (end + 1 - begin) > tokens:
            runs.append(range(begin, end))
            begin, longest = end, length
    return [*runs, range(begin, len(lengths))] if lengths else []


def score_tokens(
    model: Any,
    token_ids_BT: Tensor,
    chosen_BT: Tensor,
    temperature: float = 1.0,
    *,
    train_entropy: bool = False,
    local: LocalUpdates = DEFAULTS,
) -> TokenScores:
    """Log-probabilities [K] of the tokens that `chosen_BT` marks, in row order, given all tokens before them; on the
    model's device, in float32.

    Rows are padded on the right, which causal attention never looks at. The first token of a row has no predecessor
    and may not be chosen. Only the chosen positions pass through the output layer, and through what the model does with
    its logits beyond that (scaling, soft limits). The entropy has a gradient with `train_entropy` alone.
    """
    assert not bool(chosen_BT[:, 0].any()), "the first token of a sequence has no context to be predicted from"
    device = device_of(model)
    targets_K = token_ids_BT[:, 1:][chosen_BT[:, 1:]].to(device)
    seen_BT, chosen_BT = token_ids_BT[:, :-1].to(device), chosen_BT[:, 1:].to(device)
    with autocast(device, local.dtype):
        if local.logits_chunk is None:
            logits_KV = chosen_logits(model, seen_BT, chosen_BT)
            return _scores(logits_KV, targets_K, temperature, train_entropy)
        hidden_KH = chosen_states(model, seen_BT, chosen_BT)
        pieces = [
            checkpoint(_chunk_scores, model, *chunk, temperature, train_entropy, use_reentrant=False)
            for chunk in zip(hidden_KH.split(local.logits_chunk), targets_K.split(local.logits_chunk), strict=True)
        ]
    return TokenScores(*(torch.cat(chunks) for chunks in zip(*pieces, strict=True)))


def _chunk_scores(
    model: Any, hidden_KH: Tensor, targets_K: Tensor, temperature: float, train_entropy: bool
) -> TokenScores:
    return _scores(logits_of(model, hidden_KH), targets_K, temperature, train_entropy)


def _scores(logits_KV: Tensor, targets_K: Tensor, temperature: float, train_entropy: bool) -> TokenScores:
    """Of the tokens `targets_K`, each under its row of logits."""
    distribution = torch.log_softmax(logits_KV.float() / temperature, -1)
    logprobs = distribution.gather(-1, targets_K[:, None])[:, 0]
    with torch.set_grad_enabled(train_entropy and torch.is_grad_enabled()):
        entropy = -(distribution.exp() * distribution).sum(-1)
    return TokenScores(logprobs, entropy)
