"""What the jobs of each stage ask for."""

from __future__ import annotations

from mrsearch.config.base import Model, NonNegativeInt, PositiveInt


class Resources(Model):
    """What one job of a stage asks for."""

    threads: PositiveInt = 1
    """CPU cores."""
    mem_mb: PositiveInt = 4000
    """Memory."""
    runtime: PositiveInt = 60
    """Minutes."""
    gpus: NonNegativeInt = 0
    """GPUs per node."""
    nodes: PositiveInt = 1
    """Nodes."""


class StageResources(Model):
    """Resources by stage."""

    data: Resources = Resources()
    """Preparing questions and passages."""
    index: Resources = Resources()
    """Encoding passages and building the index."""
    retriever: Resources = Resources()
    """The retrieval server."""
    warm_start: Resources = Resources()
    """Supervised training on scripted demonstrations."""
    sft: Resources = Resources()
    """Supervised training on answers or on the policy's own meta-episodes, their sampling included."""
    train: Resources = Resources()
    """Reinforcement learning."""
    evaluate: Resources = Resources()
    """Evaluation of one method, or of all that share a policy."""
    report: Resources = Resources()
    """Metrics, tables and figures."""
