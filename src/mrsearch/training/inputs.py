"""What every trainer reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEMONSTRATIONS = "demonstrations.json"
"""In a fine-tuning's run folder: what its traces were made from, and how many of how many meta-episodes they are."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files and folders of one training; reading them changes none."""

    start: Path
    """Hugging Face folder of the starting weights."""
    questions: Path
    """Parquet file of the training questions."""
    corpus: Path
    """Folder of the passage store."""
    indexes: Path
    """Folder that holds one index folder per retriever."""
    endpoint: Path | None
    """Token of the running retriever; None where the index is opened in the process."""
