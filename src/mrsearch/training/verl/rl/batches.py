"""Reading a training batch out of verl's TransferQueue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mrsearch.agent.reasoning import ReasoningCounts
from mrsearch.agent.tally import MetaEpisodeCounts
from mrsearch.training.verl.rl.advantage import BatchRow
from mrsearch.training.verl.rl.rows import FACTS, RECORD


@dataclass(frozen=True, slots=True)
class FetchedBatch:
    """The rows of a batch in its order, with their facts and masks."""

    rows: list[BatchRow]
    facts: list[dict[str, Any]]
    records: list[str]
    """Meta-episodes that may be kept, as lines of JSON; empty elsewhere."""
    response_mask: Tensor
    """Nested [B, *]: verl's own, which says how long each response is."""
    response_mask_BT: Tensor

    def counts(self) -> list[MetaEpisodeCounts]:
        """Of every meta-episode once; padding left out."""
        return [MetaEpisodeCounts(**fact["counts"]) for fact in self._by_meta_episode()]

    def reasoning(self) -> list[ReasoningCounts]:
        """Of every meta-episode once; padding left out."""
        return [ReasoningCounts(**fact["reasoning"]) for fact in self._by_meta_episode()]

    def terms(self) -> list[dict[str, list[float]]]:
        """Terms of the rewards of every meta-episode, as `EpisodeRewards` has them; padding left out."""
        return [fact["terms"] for fact in self._by_meta_episode()]

    def search_retries(self) -> int:
        """Tries again of the retriever's clients."""
        return sum(int(fact["search_retries"]) for fact in self._by_meta_episode())

    def _by_meta_episode(self) -> list[dict[str, Any]]:
        pairs = zip(self.rows, self.facts, strict=True)
        return list({(row.group, row.member): fact for row, fact in pairs if not row.padding}.values())


def fetch(batch: Any) -> FetchedBatch:
    """The rows of a `KVBatchMeta`."""
    import transfer_queue as tq

    data = tq.kv_batch_get(
        keys=batch.keys, partition_id=batch.partition_id, select_fields=["response_mask", "extra_fields"]
    )
    mask = data["response_mask"]
    extras = [_plain(extra) for extra in data["extra_fields"]]
    facts = [extra[FACTS] for extra in extras]
    rows = [
        read_row(key, fact, bool(tag.get("is_padding", False)))
        for key, fact, tag in zip(batch.keys, facts, batch.tags, strict=True)
    ]
    padded = mask.to_padded_tensor(0) if mask.is_nested else mask
    return FetchedBatch(rows, facts, [extra[RECORD] for extra in extras], mask, padded)


def read_row(key: str, facts: dict[str, Any], padding: bool) -> BatchRow:
    """The row that a key `<question's uid>_<session>_<index>` of the queue names."""
    group, session, _ = key.rsplit("_", 2)
    return BatchRow(
        group=group,
        member=f"{int(session):06d}",
        rewards=facts["rewards"],
        spans=facts["spans"],
        weight=facts["weight"],
        padding=padding,
        turns=facts["turns"],
        turn_episodes=facts["turn_episodes"],
        unmasked=facts["unmasked"],
    )


def sessions(keys: list[str], tags: list[dict[str, Any]]) -> set[str]:
    """The meta-episodes of a batch, padding left out."""
    return {key.rsplit("_", 1)[0] for key, tag in zip(keys, tags, strict=True) if not tag.get("is_padding", False)}


def subset(batch: Any, positions: list[int]) -> Any:
    """The batch of some rows."""
    return type(batch)(
        keys=[batch.keys[position] for position in positions],
        tags=[batch.tags[position] for position in positions],
        partition_id=batch.partition_id,
        extra_info=dict(batch.extra_info),
    )


def _plain(value: Any) -> Any:
    """Entries that are no tensors come wrapped or not, as the queue's storage likes."""
    return getattr(value, "data", value)
