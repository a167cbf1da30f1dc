"""Which of a study's agents is meant, and whether its files are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mrsearch.config.layout import Layout
from mrsearch.config.study import Study

T = TypeVar("T", str, int)


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """One agent of a study, and how it samples."""

    model: str
    method: str
    seed: int
    decoding: str

    @classmethod
    def of(
        cls,
        study: Study,
        method: str,
        model: str | None = None,
        seed: int | None = None,
        decoding: str | None = None,
    ) -> AgentChoice:
        """None chooses the study's first. ValueError, which lists the study's own, for what the study does not have."""
        return cls(
            model=_one_of(study, "model", model, study.models),
            method=_one_of(study, "method", method, study.methods),
            seed=_one_of(study, "seed", seed, study.seeds),
            decoding=_one_of(study, "decoding", decoding, study.evaluation.decoding),
        )

    def tags(self, study: Study) -> dict[str, Any]:
        """Where a record of this agent is from, as the tags of records say it."""
        names = {"study": study.name, "model": self.model, "method": self.method, "seed": self.seed}
        return {**names, "decoding": self.decoding}


def require_files(study: Study, layout: Layout, choice: AgentChoice) -> None:
    """ValueError where the weights, passages or indexes of an agent are not there; it says how they are made."""
    paths = {"weights": layout.policy(choice.model, choice.method, choice.seed)}
    if study.methods[choice.method].searches:
        paths["passages"] = layout.corpus
        paths |= {f"index of {name}": layout.index(name) for name in study.index_of(choice.method)}
    for name, path in paths.items():
        require_file(study, path, name)


def require_file(study: Study, path: Path, name: str) -> None:
    """ValueError where nothing is at `path`."""
    if not path.exists():
        raise ValueError(
            f"{path}: the {name} of study {study.name} are not there: run the study first (snakemake --profile "
            f"profile/local --config study={study.name}), or name another folder of results"
        )


def _one_of(study: Study, key: str, value: T | None, listed: Iterable[T]) -> T:
    values = list(listed)
    if value is None:
        return values[0]
    if value not in values:
        raise ValueError(f"study {study.name} has no {key} {value!r}: it has {', '.join(map(str, values))}")
    return value
