"""Writing trained models as ordinary Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsearch.files import atomic_folder


def export_model(model: Any, tokenizer: Any, out: Path) -> None:
    """Save weights (safetensors), config and tokenizer as an ordinary Hugging Face folder, atomically."""
    with atomic_folder(out) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
