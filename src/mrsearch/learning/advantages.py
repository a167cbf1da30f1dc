"""Advantage estimators: rewards of a group's episodes in, one advantage per episode out. Pure tensor functions.

Shapes: G meta-episodes of one question (a group), N episode positions; a leading batch dimension Q of questions is
allowed everywhere. `exists` marks the episodes that took place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Z_SCORE_EPSILON = 1e-6


def leave_one_out(rewards_GN: Tensor, exists_GN: Tensor) -> Tensor:
    """r~[i,n] = r[i,n] - mean of r[j,n] over the other members j that have an episode n (paper eq. 7).

    Returns [..., G, N]; 0 where the episode does not exist or no other member has one. No division by a standard
    deviation.
    """
    _check(rewards_GN, exists_GN)
    present = exists_GN.to(rewards_GN.dtype)
    rewards = rewards_GN * present
    count_others = present.sum(-2, keepdim=True) - present
    baseline = (rewards.sum(-2, keepdim=True) - rewards) / count_others.clamp(min=1)
    return torch.where(exists_GN & (count_others > 0), rewards - baseline, torch.zeros_like(rewards))


def discounted_suffix_sum(values_GN: Tensor, gamma: float) -> Tensor:
    """A[..., n] = sum over n' >= n of gamma^(n'-n) values[..., n'] (paper eq. 8)."""
    columns = list(values_GN.unbind(-1))
    for n in range(len(columns) - 2, -1, -1):
        columns[n] = columns[n] + gamma * columns[n + 1]
    return torch.stack(columns, -1)


def mr_search(
    rewards_GN: Tensor, exists_GN: Tensor, gamma: float = 1.0, episode_mask_N: Tensor | None = None
) -> Tensor:
    """Turn-level leave-one-out advantage [..., G, N] (paper eq. 7 and 8); `episode_mask_N` 0 drops a reward."""
    centred = leave_one_out(rewards_GN, exists_GN)
    return _present(discounted_suffix_sum(_masked(centred, episode_mask_N), gamma), exists_GN)


def mt_grpo(rewards_GN: Tensor, exists_GN: Tensor, gamma: float = 1.0, episode_mask_N: Tensor | None = None) -> Tensor:
    """Per-episode group z-score, then the discounted suffix sum; [..., G, N]."""
    scores = _z_score(rewards_GN, exists_GN)
    return _present(discounted_suffix_sum(_masked(scores, episode_mask_N), gamma), exists_GN)


def grpo(rewards_GN: Tensor, exists_GN: Tensor, gamma: float = 1.0, episode_mask_N: Tensor | None = None) -> Tensor:
    """Group z-score of each member's last reward, given to all its episodes; [..., G, N] (Search-R1 with N = 1)."""
    last_G1, any_G1 = _last(rewards_GN, exists_GN)
    return _present(_z_score(last_G1, any_G1).expand_as(rewards_GN), exists_GN)


def rloo(rewards_GN: Tensor, exists_GN: Tensor, gamma: float = 1.0, episode_mask_N: Tensor | None = None) -> Tensor:
    """Leave-one-out of each member's last reward, given to all its episodes; [..., G, N]."""
    last_G1, any_G1 = _last(rewards_GN, exists_GN)
    return _present(leave_one_out(last_G1, any_G1).expand_as(rewards_GN), exists_GN)


def raft(rewards_GN: Tensor, exists_GN: Tensor, gamma: float = 1.0, episode_mask_N: Tensor | None = None) -> Tensor:
    """Each member's last reward, given to all its episodes and compared with nothing; [..., G, N].

    With rewards of 0 and 1, what ended right is imitated and the rest left alone: rejection sampling, drawn anew in
    every step (RAFT, arXiv 2304.06767).
    """
    last_G1, _ = _last(rewards_GN, exists_GN)
    return _present(last_G1.expand_as(rewards_GN), exists_GN)


def reinforce_plus_plus(
    rewards_GN: Tensor, exists_GN: Tensor, gamma: float = 1.0, episode_mask_N: Tensor | None = None
) -> Tensor:
    """Discounted returns, standardised over every existing episode of the whole batch (REINFORCE++); [..., G, N]."""
    _check(rewards_GN, exists_GN)
    present = exists_GN.to(rewards_GN.dtype)
    returns = discounted_suffix_sum(_masked(rewards_GN * present, episode_mask_N), gamma)
    count = present.sum().clamp(min=1)
    mean = (returns * present).sum() / count
    variance = (((returns - mean) * present) ** 2).sum() / count
    return _present((returns - mean) / (variance.sqrt() + Z_SCORE_EPSILON), exists_GN)


def reinforce(
    rewards_GN: Tensor, exists_GN: Tensor, gamma: float = 1.0, episode_mask_N: Tensor | None = None
) -> Tensor:
    """Discounted returns less their mean over every meta-episode of the batch that has the episode; [..., G, N].

    REINFORCE with a baseline of the batch: questions are not compared by themselves, and nothing is divided.
    """
    _check(rewards_GN, exists_GN)
    present = exists_GN.to(rewards_GN.dtype)
    returns = discounted_suffix_sum(_masked(rewards_GN * present, episode_mask_N), gamma)
    members = tuple(range(returns.dim() - 1))
    mean_N = (returns * present).sum(members) / present.sum(members).clamp(min=1)
    return _present(returns - mean_N, exists_GN)


Estimator = Callable[[Tensor, Tensor, float, Tensor | None], Tensor]
"""Gives advantages [..., G, N] to rewards and existence of the same shape, by gamma and the mask [N] of episodes."""
ESTIMATORS: dict[str, Estimator] = {
    "mr_search": mr_search,
    "mt_grpo": mt_grpo,
    "grpo": grpo,
    "rloo": rloo,
    "reinforce_plus_plus": reinforce_plus_plus,
    "reinforce": reinforce,
    "raft": raft,
}


def advantages(
    algorithm: str | Estimator,
    rewards_GN: Tensor,
    exists_GN: Tensor,
    *,
    gamma: float = 1.0,
    episode_mask: Sequence[int] | None = None,
) -> Tensor:
    """Advantages [..., G, N] by an estimator, or by that of a name; ValueError for an unknown name, and for an
    estimator that gives another shape or numbers that are not finite."""
    mask_N = None if episode_mask is None else torch.tensor(episode_mask, dtype=rewards_GN.dtype)
    if not isinstance(algorithm, str):
        return _checked(algorithm(rewards_GN, exists_GN, gamma, mask_N), exists_GN)
    if algorithm not in ESTIMATORS:
        raise ValueError(
            f"algorithm {algorithm!r} has no advantage estimator here: known are {', '.join(sorted(ESTIMATORS))}"
        )
    return ESTIMATORS[algorithm](rewards_GN, exists_GN, gamma, mask_N)


def _checked(values_GN: object, exists_GN: Tensor) -> Tensor:
    """What an estimator of somebody else's gives, 0 where no episode took place."""
    if not isinstance(values_GN, Tensor) or values_GN.shape != exists_GN.shape or not values_GN.is_floating_point():
        raise ValueError(
            f"the estimator gave {values_GN!r:.100}: advantages of shape {tuple(exists_GN.shape)} expected"
        )
    values_GN = torch.where(exists_GN, values_GN, torch.zeros_like(values_GN))
    if not bool(torch.isfinite(values_GN).all()):
        raise ValueError("an advantage is no finite number: look at the rewards of this step, or at the estimator")
    return values_GN


def _check(rewards_GN: Tensor, exists_GN: Tensor) -> None:
    if rewards_GN.shape != exists_GN.shape or exists_GN.dtype != torch.bool:
        raise ValueError(
            f"rewards {tuple(rewards_GN.shape)} and exists {tuple(exists_GN.shape)} ({exists_GN.dtype}) "
            "must have one shape, and exists must be boolean"
        )


def _masked(values_GN: Tensor, episode_mask_N: Tensor | None) -> Tensor:
    return values_GN if episode_mask_N is None else values_GN * episode_mask_N


def _present(values_GN: Tensor, exists_GN: Tensor) -> Tensor:
    return torch.where(exists_GN, values_GN, torch.zeros_like(values_GN))


def _z_score(rewards_GN: Tensor, exists_GN: Tensor) -> Tensor:
    """(r - mean) / (std + eps) over the members present, per episode position; 0 for a single member."""
    _check(rewards_GN, exists_GN)
    present = exists_GN.to(rewards_GN.dtype)
    count = present.sum(-2, keepdim=True)
    mean = (rewards_GN * present).sum(-2, keepdim=True) / count.clamp(min=1)
    deviation = (rewards_GN - mean) * present
    std = ((deviation**2).sum(-2, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return torch.where(exists_GN & (count > 1), deviation / (std + Z_SCORE_EPSILON), torch.zeros_like(deviation))


def _last(rewards_GN: Tensor, exists_GN: Tensor) -> tuple[Tensor, Tensor]:
    """Each member's last existing reward [..., G, 1], and whether it has one."""
    _check(rewards_GN, exists_GN)
    position = torch.arange(rewards_GN.shape[-1]).expand_as(rewards_GN)
    last = torch.where(exists_GN, position, torch.full_like(position, -1)).amax(-1, keepdim=True)
    return rewards_GN.gather(-1, last.clamp(min=0)) * (last >= 0), last >= 0
