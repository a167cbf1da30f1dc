"""Time of updates and of generation, from arithmetic and a few named assumptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from mrsearch.planning.shapes import Shape


@dataclass(frozen=True, slots=True)
class Card:
    """What one GPU gives, by its maker's data sheet."""

    name: str
    memory: float
    """Bytes."""
    flops: float
    """Operations a second, dense bfloat16."""
    bandwidth: float
    """Bytes a second from its memory."""


CARDS = {
    card.name: card
    for card in (
        Card("h100", 80e9, 989e12, 3.35e12),
        Card("h200", 141e9, 989e12, 4.8e12),
        Card("a100", 80e9, 312e12, 2.04e12),
        Card("a100-40", 40e9, 312e12, 1.56e12),
        Card("l40s", 48e9, 362e12, 0.864e12),
        Card("rtx4090", 24e9, 165e12, 1.008e12),
    )
}


def card_named(name: str) -> Card:
    """A card of the table; ValueError lists those there are."""
    if name not in CARDS:
        raise ValueError(f"card ({name!r}) is not known: known are {', '.join(CARDS)}")
    return CARDS[name]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What no arithmetic gives. A rehearsal on the cluster measures the rates."""

    mfu: float = 0.4
    """Share of the card's operations that an update reaches."""
    decode_share: float = 0.5
    """Share of the card's memory bandwidth that generation reaches."""
    generated_tokens: float = 300.0
    """Tokens that the policy generates in an episode."""
    tokens_per_turn: float = 100.0
    """Tokens of one turn among them; every turn but the last of an episode searches."""
    passage_tokens: float = 150.0
    """Tokens of one passage in an observation."""
    in_flight: float = 0.9
    """Share of a server's slots in use over an evaluation."""
    start_minutes: float = 5.0
    """Start of a job until its first token."""
    save_seconds: float = 60.0
    """One checkpoint."""
    launch_ms: float = 40.0
    """Milliseconds of a decoding step of a model in this process, whatever it computes: Python starts its kernels one
    by one."""

    @classmethod
    def of(cls, changes: Iterable[str]) -> Assumptions:
        """The defaults with some replaced, each as name=number; ValueError where there is no such name or number."""
        values: dict[str, float] = {}
        names = [field.name for field in fields(cls)]
        for change in changes:
            name, _, text = change.partition("=")
            try:
                values[name] = float(text)
            except ValueError:
                raise ValueError(f"assumption {change!r} is not name=number: write mfu=0.3, for instance") from None
            if name not in names or not values[name] > 0:
                raise ValueError(f"assumption {change!r}: known are {', '.join(names)}, all above 0")
        return cls(**values)

    def described(self) -> list[str]:
        """Each assumption with its value, one line each."""
        return [f"{field.name} {getattr(self, field.name):g}" for field in fields(self)]


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of one meta-episode."""

    generated: float
    observed: float
    """Prompt, observations and reflection prompts."""

    @property
    def total(self) -> float:
        return self.generated + self.observed


def update_seconds(
    shape: Shape,
    tokens: float,
    gpus: int,
    card: Card,
    mfu: float,
    recompute: bool,
    kl: bool,
    *,
    checkpointing: bool = True,
    frozen: bool = False,
) -> float:
    """Seconds of one step's updates and log-probabilities on `tokens` tokens, once over them.

    Operations per parameter and token: 6 forward and backward, 4 where the weights are frozen and have no gradients, 2
    activations computed again where they are, 2 old log-probabilities where they are recomputed, 2 the reference's
    where there is one.
    """
    operations = (6 - 2 * frozen + 2 * checkpointing + 2 * recompute + 2 * kl) * shape.parameters * tokens
    return operations / (gpus * card.flops * mfu)


def generation_seconds(
    shape: Shape, meta_episodes: float, length: Length, slots: float, copies: float, card: Card, share: float
) -> float:
    """Seconds until `copies` servers, each with `slots` meta-episodes in flight on one card, have generated them all.

    A decoding step reads the weights once and the keys and values of every meta-episode in flight, at half its final
    length on average; a prompt is computed once.
    """
    per_copy = meta_episodes / copies
    slots = max(1.0, min(slots, per_copy))
    step = (2 * shape.parameters + slots * length.total / 2 * shape.kv_bytes) / (card.bandwidth * share)
    decode = per_copy / slots * length.generated * step
    prefill = 2 * shape.parameters * per_copy * length.observed / (card.flops * share)
    return decode + prefill
