"""Where evaluations find what they read, and where they put what they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """What evaluations over one policy read."""

    policy: Path
    """Hugging Face folder of the weights."""
    questions: Path
    """Folder of <benchmark>.parquet."""
    corpus: Path
    """Folder of the passage store."""
    indexes: Path
    """Folder of one index folder per retriever."""


@dataclass(frozen=True, slots=True)
class MethodFolders:
    """Where one method's evaluation puts its files, and where its retriever's server is."""

    out: Path
    """Folder of records, scores and run.json."""
    cache: Path
    """Folder of finished parts, from which an interrupted evaluation goes on."""
    endpoint: Path | None = None
    """Endpoint file of a served retriever; without it the index is opened in this process."""
