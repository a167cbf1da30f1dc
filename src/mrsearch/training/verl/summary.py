"""What the training log says of a step, from the facts that came with its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrsearch.training.verl.advantage import Row, group_tensors


def summary(rows: Sequence[Row], facts: Sequence[dict[str, Any]], episodes: int) -> dict[str, Any]:
    """Means per meta-episode unless named otherwise, in the local trainer's words; padding rows do not count.

    facts: `rows.Facts` of each row, as mappings.
    """
    rewards_QGN, exists_QGN, places = group_tensors(rows, episodes)
    firsts = {(row.group, row.member): fact for row, fact in zip(rows, facts, strict=True) if not row.padding}
    metas = list(firsts.values())
    count = max(1, len(metas))
    present = [places[key] for key in firsts]
    varied = ((rewards_QGN.amax(1) != rewards_QGN.amin(1)).any(-1)).float()
    turns = sum(fact["turns"] for fact in metas)
    generated = sum(fact["generated"] for fact in metas)
    return {
        "em": [sum(float(rewards_QGN[q, g, n]) for q, g in present) / count for n in range(episodes)],
        "exists": [sum(float(exists_QGN[q, g, n]) for q, g in present) / count for n in range(episodes)],
        "zero_variance_groups": 1.0 - (float(varied.mean()) if len(varied) else 0.0),
        "searches": sum(fact["searches"] for fact in metas) / count,
        "turns": turns / count,
        "invalid_actions": sum(fact["invalid_actions"] for fact in metas) / max(1, turns),
        "search_failures": sum(fact["search_failures"] for fact in metas),
        "search_retries": sum(fact["search_retries"] for fact in metas),
        "truncated": sum(fact["stop"] == "context_limit" for fact in metas) / count,
        "generated_tokens": generated / count,
        "length": sum(fact["length"] for fact in metas) / count,
        "nll": -sum(fact["logprob"] for fact in metas) / max(1, generated),
    }


def totals(rows: Sequence[Row], facts: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Tokens, searches and failed searches of a step, each meta-episode once."""
    metas = {(row.group, row.member): fact for row, fact in zip(rows, facts, strict=True) if not row.padding}.values()
    return {
        "tokens": sum(fact["length"] for fact in metas),
        "searches": sum(fact["searches"] for fact in metas),
        "search_failures": sum(fact["search_failures"] for fact in metas),
    }
