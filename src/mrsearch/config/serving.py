"""Who generates tokens in an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mrsearch.config.base import Model


class Engine(Model):
    """The generator of an evaluation: a model in the job's own process, or a server that the job starts and stops."""

    kind: Literal["torch", "vllm", "sglang"] = "torch"
    """torch: in this process, for small models; vllm and sglang: their server, on this job's GPUs."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the weights."""
    tensor_parallel: PositiveInt = 1
    """GPUs that share one model."""
    memory_fraction: float = Field(0.85, gt=0.0, lt=1.0)
    """Share of each GPU's memory that the server may take."""
    command: tuple[str, ...] | None = None
    """Start the server with this command instead; {model}, {port}, {context}, {tensor_parallel} and {copies} (of the
    model, one in an evaluation) are filled in."""
    start_seconds: PositiveFloat = 1800.0
    """How long to wait for the server's first healthy answer."""
    requests: PositiveInt = 256
    """Generations in flight at the server; more wait here."""
    timeout_seconds: PositiveFloat = 600.0
    """Per generation."""
    patience_seconds: PositiveFloat = 900.0
    """How long one generation is tried again while the server is away or overloaded."""
    deadline_seconds: PositiveFloat | None = None
    """Time of one question; when it is over, its meta-episode ends with `deadline`. Null sets none. Records that depend
    on it are not reproducible, so set it far above what a question needs."""
    max_deadline_rate: float = Field(0.01, ge=0.0, le=1.0)
    """Share of questions that may run out of time; above it the evaluation aborts."""

    @model_validator(mode="after")
    def _fits(self) -> Engine:
        if self.kind == "torch" and (self.tensor_parallel != 1 or self.command is not None):
            raise ValueError("engine.kind torch runs in one process: remove tensor_parallel and command")
        return self
