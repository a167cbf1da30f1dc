"""Who acts, and one request to act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mrsearch.agent.ports import Policy, SearchEngine
from mrsearch.agent.records import MetaEpisode
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec

Watcher = Callable[[MetaEpisode], None]
"""Sees a meta-episode while it grows: what stands in it at one call still stands there at the next, but for the stop
reasons of the meta-episode and of its newest episode, which count once it is over."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A policy that generates, an engine that searches, and how the two are used."""

    policy: Policy
    """Who generates."""
    engine: SearchEngine | None
    """Who searches; None for procedures that do not."""
    spec: AgentSpec
    """The method's choices."""
    renderer: Renderer
    """The words, encoded for the policy's tokenizer."""
    watch: Watcher | None = None
    """Called where an episode begins, before and after a search, with an observation, and at the end."""
    swappable: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Questions by benchmark, whose passages an intervention can show in the place of another one's."""

    def __post_init__(self) -> None:
        assert self.spec.protocol == self.renderer.protocol, "the renderer speaks another protocol than the spec"
        if self.spec.procedure not in ("direct", "cot", "rag", "ircot"):
            reflects = self.spec.episodes > 1 and self.spec.context != "independent"
            self.spec.protocol.require_wording("search", "invalid_action", *(["reflection"] if reflects else []))

    @property
    def searcher(self) -> SearchEngine:
        """The engine; ValueError where there is none."""
        if self.engine is None:
            raise ValueError(f"procedure {self.spec.procedure} searches: give it a search engine")
        return self.engine


@dataclass(frozen=True, slots=True)
class Request:
    """One meta-episode to be made: how its generations sample. `id` and `seed` fix every random number."""

    id: str
    """Unique among the meta-episodes of a batch."""
    seed: int = 0
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus mass; 1 keeps the whole distribution."""
