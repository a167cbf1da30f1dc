"""Loading the tokenizer of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer that the folder's tokenizer.json describes; ValueError if the folder holds none.

    AutoTokenizer replaces a generic tokenizer of a Qwen2 model by Qwen2's own, whose pre-tokenisation differs from the
    file's; the generic class reads the file as it is.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    config = Path(folder) / "tokenizer_config.json"
    if not config.is_file():
        raise ValueError(f"{folder} holds no tokenizer: {config.name} is missing")
    kind = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
    loader = PreTrainedTokenizerFast if kind in GENERIC else AutoTokenizer
    return loader.from_pretrained(folder, local_files_only=True)
