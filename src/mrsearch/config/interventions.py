"""Interventions at test time: what an agent is made to do without, to see whether it makes use of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mrsearch.config.base import Model, PositiveInt, Seed

if TYPE_CHECKING:
    from mrsearch.config.methods import Method
    from mrsearch.config.study import Study


class BlankedPassages(Model):
    """Every search finds nothing."""

    kind: Literal["blanked_passages"] = "blanked_passages"
    """Marks this intervention."""


class SwappedPassages(Model):
    """Every search shows what another question's search finds: the retriever is asked with the words of another
    question of the same benchmark."""

    kind: Literal["swapped_passages"] = "swapped_passages"
    """Marks this intervention."""
    seed: Seed = 0
    """Decides, with question and query, whose passages are shown; the same query gets the same ones."""


class DelayedPassages(Model):
    """Every search shows what the one before it found, and the first of a meta-episode nothing."""

    kind: Literal["delayed_passages"] = "delayed_passages"
    """Marks this intervention."""


class BlankedEpisode(Model):
    """An earlier episode is gone from the context once it is over: later ones see reflection prompts and what else
    there was, but none of its turns."""

    kind: Literal["blanked_episode"] = "blanked_episode"
    """Marks this intervention."""
    episode: PositiveInt = 1
    """Which episode, from 1."""


Intervention = Annotated[
    BlankedPassages | SwappedPassages | DelayedPassages | BlankedEpisode, Field(discriminator="kind")
]
UNREAD = {"label", "compare_with", "sweep", "intervention", "train", "policy", "training", "protocol", "retrieval"}
"""Keys of a method that its twin may have otherwise, or that are compared as they are resolved."""


def check_intervention(method: Method) -> None:
    """ValueError where a method's intervention does not fit its other keys."""
    intervention = method.intervention
    if intervention is None:
        return
    if method.train:
        raise ValueError(
            "intervention belongs to evaluation: give it to another method whose policy is this one, with the same "
            "episodes and compare_with"
        )
    if method.compare_with is None:
        raise ValueError(
            "intervention needs compare_with: name the method that this one is but for its intervention, which shows "
            "what that changes"
        )
    if isinstance(intervention, BlankedEpisode):
        if method.context != "full" or not method.reflects:
            raise ValueError("a blanked episode needs episodes that see each other: set context: full")
        if intervention.episode >= method.episodes:
            raise ValueError(
                f"intervention.episode ({intervention.episode}) has no later episode among {method.episodes}: lower it"
            )
    elif not method.searches:
        raise ValueError(f"procedure {method.procedure!r} does not search: remove intervention ({intervention.kind})")
    elif method.parallel and isinstance(intervention, DelayedPassages):
        raise ValueError("context: independent has no order of searches: remove intervention (delayed_passages)")


def check_twins(study: Study) -> None:
    """ValueError where a method with an intervention differs by more than that from the method it is compared with."""
    for name, method in study.methods.items():
        if method.intervention is None or method.compare_with is None:
            continue
        of_twin = _behaviour(study, method.compare_with)
        differing = [key for key, value in _behaviour(study, name).items() if value != of_twin[key]]
        if study.methods[method.compare_with].intervention is not None:
            differing = ["intervention"]
        if differing:
            raise ValueError(
                f"methods.{name} has an intervention, so it may differ from compare_with ({method.compare_with}) by "
                f"that alone, and it differs by {', '.join(differing)}: set the same"
            )


def _behaviour(study: Study, name: str) -> dict[str, object]:
    """What decides a method's answers but for an intervention, resolved, by key."""
    method, own_study = study.methods[name], study.of(name)
    return {
        **{key: getattr(method, key) for key in type(method).model_fields if key not in UNREAD},
        "max_turns": study.max_turns_of(name),
        "policy": study.policy_of(name),
        "protocol": own_study.protocol,
        "retrieval": study.retriever_of(name),
    }
