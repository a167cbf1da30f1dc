"""Who generates tokens in an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mrsearch.config.base import Model, PositiveFloat, PositiveInt


class Generator(Model):
    """The generator of an evaluation: a model in the job's own process, or a server that the job starts and stops."""

    kind: Literal["torch", "vllm", "sglang"] = "torch"
    """torch: in this process, for small models; vllm and sglang: their server, on this job's GPUs."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the weights."""
    tensor_parallel: PositiveInt = 1
    """GPUs that share one model."""
    gpu_memory_utilization: float = Field(0.85, gt=0.0, lt=1.0)
    """Share of each GPU's memory that the server may take."""
    command: tuple[str, ...] | None = None
    """Start the server with this command instead; {model}, {port}, {context}, {tensor_parallel} and {copies} (of the
    model, one in an evaluation) are filled in."""
    server_arguments: tuple[str, ...] = ()
    """Further arguments of the server's command, as vLLM or sglang document them."""
    start_seconds: PositiveFloat = 1800.0
    """How long to wait for the server's first healthy answer."""
    request_seeds: bool = False
    """Send each generation's own seed to the server. vLLM then draws such tokens one request after another, and on GPUs
    the records differ all the same: arithmetic there depends on what runs together. kind torch always has seeds."""
    requests: PositiveInt = 256
    """Generations in flight at the server; more wait here."""
    timeout_seconds: PositiveFloat = 600.0
    """Per try of a generation."""
    patience_seconds: PositiveFloat = 900.0
    """How long one generation may take in all, with every try while the server is away or overloaded."""
    deadline_seconds: PositiveFloat | None = None
    """Time of one question; when it is over, its meta-episode ends with `deadline`. Null sets none. Records that depend
    on it are not reproducible, so set it far above what a question needs."""
    max_deadline_rate: float = Field(0.01, ge=0.0, le=1.0)
    """Share of questions that may run out of time; above it the evaluation aborts."""

    @property
    def whole_batches(self) -> bool:
        """Whether what it generates depends on what runs together, so that equal batches are kept for equal bytes."""
        return self.kind == "torch"

    @model_validator(mode="after")
    def _fits(self) -> Generator:
        if self.kind == "torch" and (self.tensor_parallel != 1 or self.command or self.server_arguments):
            raise ValueError(
                "generator.kind torch runs in one process: remove tensor_parallel, command and server_arguments"
            )
        if any("trust" in word and "remote" in word for word in self.server_arguments):
            raise ValueError(
                "generator.server_arguments lets the server run Python of the model's folder: only generator.command, "
                "which is code itself, may say that"
            )
        if self.command is not None and self.server_arguments:
            raise ValueError("generator.command is the whole command: put server_arguments into it")
        return self
