"""Drawing tokens so that a draw depends on its own request alone, never on what else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mrsearch.agent.ports import Sampling


def uniforms(samplings: Sequence[Sampling]) -> Tensor:
    """Uniform numbers [B, T]: row b from the counter-based generator keyed by that request's seed."""
    longest = max(sampling.max_tokens for sampling in samplings)
    rows = [
        np.random.Generator(np.random.Philox(key=sampling.seed & (2**64 - 1))).random(longest) for sampling in samplings
    ]
    return torch.from_numpy(np.stack(rows))


def sample(logits_BV: Tensor, temperature_B: Tensor, top_p_B: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [B] and their log-probabilities [B] under softmax(logits / temperature), the whole distribution.

    Rows of temperature 0 take the largest logit. top_p < 1 restricts the draw to the nucleus; the log-probability
    stays that of the whole distribution, as in the released reference.
    """
    greedy_B = temperature_B == 0
    scale_B = torch.where(greedy_B, torch.ones_like(temperature_B), temperature_B)
    logprobs = torch.log_softmax(logits_BV.float() / scale_B[:, None], -1)
    tokens = logprobs.argmax(-1)
    if not bool(greedy_B.all()):
        tokens = torch.where(greedy_B, tokens, _inverse_cdf(logprobs.exp(), top_p_B, uniform_B))
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0]


def _inverse_cdf(probabilities_BV: Tensor, top_p_B: Tensor, uniform_B: Tensor) -> Tensor:
    order = None
    if bool((top_p_B < 1).any()):
        probabilities_BV, order = probabilities_BV.sort(dim=-1, descending=True, stable=True)
        before = probabilities_BV.cumsum(-1) - probabilities_BV
        probabilities_BV = probabilities_BV * (before < top_p_B[:, None])
    cumulative = probabilities_BV.double().cumsum(-1)
    target = (uniform_B.to(cumulative.device) * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, target, right=True).clamp(max=cumulative.shape[-1] - 1)
    return (tokens if order is None else order.gather(-1, tokens))[:, 0]
