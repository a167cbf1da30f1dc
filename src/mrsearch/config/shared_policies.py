"""Which methods of a study run the same weights in the same way, so that one job can evaluate them over one policy."""

from __future__ import annotations

from collections.abc import Iterable

from mrsearch.config.load import digest
from mrsearch.config.study import Study


def shared_policies(study: Study) -> tuple[tuple[str, ...], ...]:
    """The methods that one job evaluates, in the study's order: each method stands in one group. Without
    `evaluation.share_policy` every group has one method."""
    groups: dict[str, list[str]] = {}
    for method in study.methods:
        key = opened_with(study, method) if study.evaluation.share_policy else method
        groups.setdefault(key, []).append(method)
    return tuple(map(tuple, groups.values()))


def job_of(study: Study, method: str) -> tuple[str, ...]:
    """The group of `method`; the first names the job's log and measurement. ValueError for an unknown method."""
    study.of(method)
    return next(group for group in shared_policies(study) if method in group)


def require_one_policy(study: Study, methods: Iterable[str]) -> None:
    """ValueError where two of the methods cannot be evaluated over one policy."""
    first, *following = methods
    for method in following:
        if opened_with(study, method) != opened_with(study, first):
            raise ValueError(
                f"methods {first!r} and {method!r} do not run one policy: they differ in weights, or in the context, "
                "the tags or the chat template that it is opened with: evaluate them one by one"
            )


def opened_with(study: Study, method: str) -> str:
    """Digest of whose weights run `method`, and of every setting that a policy is opened with."""
    protocol = study.of(method).protocol
    opened = [protocol.longest_sequence, list(protocol.tags.closing), protocol.chat_template]
    return digest(study.policy_of(method), study.evaluation.generator, *opened)
