"""How many facts, one found through another, the questions of known benchmarks need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mrsearch.config.study import Study

Hops = Literal["one", "multi"]
WORLD_HOPS = {
    "single_hop": 1,
    "popular": 1,
    "long_tail": 1,
    "ambiguous": 1,
    "comparison": 2,
    "two_hop": 2,
    "three_hop": 3,
    "long_horizon": 4,
}
"""Facts behind an answer, by benchmark of the synthetic world; a comparison needs one of each of two persons."""
PUBLISHED: dict[str, Hops] = {
    "nq": "one",
    "triviaqa": "one",
    "popqa": "one",
    "hotpotqa": "multi",
    "2wikimultihopqa": "multi",
    "musique": "multi",
    "bamboogle": "multi",
}
"""By row of the registry: general and multi-hop question answering in the tables of Search-R1 (arXiv 2503.09516)."""


def hops_of(study: Study, benchmark: str) -> Hops | None:
    """Whether the questions of a benchmark of the study need one fact or several; None where nobody says so.

    What the benchmark's `hops` says goes before what is known of the world's and of the registry's questions. Those of
    a folder or of the study's own rows are known by `hops` alone, whatever they are called.
    """
    settings, data = study.benchmarks[benchmark], study.data
    source = settings.source or benchmark
    if settings.hops is not None:
        return settings.hops
    if data.kind == "world" and source in WORLD_HOPS:
        return "one" if WORLD_HOPS[source] == 1 else "multi"
    if data.kind == "hub" and source not in data.rows:
        return PUBLISHED.get(source)
    return None


def by_hops(study: Study) -> dict[Hops, list[str]]:
    """The benchmarks within the mean whose hops are known, by hops."""
    names = [name for name, benchmark in study.benchmarks.items() if benchmark.average]
    return {
        "one": [name for name in names if hops_of(study, name) == "one"],
        "multi": [name for name in names if hops_of(study, name) == "multi"],
    }
