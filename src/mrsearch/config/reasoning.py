"""When an agent's reasoning looks ill, by what it writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mrsearch.config.base import Model, NonNegativeFloat, PositiveInt

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ReasoningLimits(Model):
    """Alarms about what the policy writes in training, which goes wrong before the score does. A threshold of null is
    not watched; the log has the values all the same."""

    action: Literal["off", "warn", "stop"] = "warn"
    """off: no alarms; warn: log and count them; stop: also end the training, with a checkpoint, after `patience` steps
    of one."""
    patience: PositiveInt = 5
    """Consecutive steps of one alarm before `stop` acts."""
    max_malformed_thinking: Share | None = 0.5
    """Share of turns whose tags of reasoning do not come in pairs. A chat template that opens the block itself breaks
    the pair: null then."""
    max_empty_thinking: Share | None = 0.5
    """Share of turns with a block of reasoning in which nothing stands."""
    min_thinking_characters: NonNegativeFloat | None = None
    """Characters of reasoning in a turn, on average."""
    max_repeated_ngrams: Share | None = 0.3
    """Share of runs of four tokens that their turn had before."""
    max_non_latin: Share | None = 0.2
    """Share of letters of another script than Latin: null for questions in one."""
    max_repeated_queries: Share | None = 0.8
    """Share of searches whose query the meta-episode had before."""
    max_needless_searches: Share | None = None
    """Share of searches made when the passages read so far held a gold answer already."""
    max_unsupported_answers: Share | None = 0.95
    """Share of answers, yes and no left out, that no passage read so far says."""
