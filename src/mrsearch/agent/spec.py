"""How one method acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mrsearch.config.installed import settings_of
from mrsearch.config.interventions import BlankedEpisode, Intervention
from mrsearch.config.methods import Context
from mrsearch.config.protocol import Protocol
from mrsearch.config.study import Study
from mrsearch.extensions import PROCEDURES


@dataclass(frozen=True)
class AgentSpec:
    """How one method acts: the protocol with the method's own choices resolved."""

    protocol: Protocol
    procedure: str = "meta_episode"
    episodes: int = 1
    """Episodes of a meta-episode (the paper's N)."""
    max_turns: int = 3
    """Turn budget of an episode."""
    topk: int = 3
    """Passages per search."""
    context: Context = "full"
    """What of earlier episodes stays in the context."""
    temperature: float | None = None
    """Temperature in place of the decoding's; None keeps that."""
    stop_after_agreeing: int | None = None
    """End once this many answers in a row agree; None runs every episode."""
    stop_when_confident: float | None = None
    """End once an answer's confidence reaches this; None runs every episode."""
    intervention: Intervention | None = None
    """What the agent does without, to see what that changes."""
    procedure_settings: Any = None
    """Of an installed procedure, by its own model."""

    def searches_left(self, spent: int) -> int | None:
        """Searches of an episode that are still carried out, and leave a generation to answer, once `spent` of its turn
        budget is gone; None for procedures whose agent does not choose when to search."""
        if self.procedure in ("direct", "cot", "rag", "ircot"):
            return None
        return max(0, self.max_turns - spent - (not self.protocol.final_generation))

    @property
    def blanked_episode(self) -> int | None:
        """The episode, from 0, whose turns no later one sees; None where all are seen that the context has."""
        return self.intervention.episode - 1 if isinstance(self.intervention, BlankedEpisode) else None

    @classmethod
    def of(cls, study: Study, method_name: str) -> AgentSpec:
        """The spec of a study's method."""
        study = study.of(method_name)
        method = study.methods[method_name]
        installed = method.procedure_package is not None
        settings = settings_of(PROCEDURES, method.procedure, method.procedure_settings) if installed else None
        return cls(
            protocol=study.protocol,
            procedure=method.procedure,
            procedure_settings=settings,
            episodes=method.episodes,
            max_turns=study.max_turns_of(method_name),
            topk=study.retrieval.topk,
            context=method.context,
            temperature=method.temperature,
            stop_after_agreeing=method.stop_after_agreeing,
            stop_when_confident=method.stop_when_confident,
            intervention=method.intervention,
        )
