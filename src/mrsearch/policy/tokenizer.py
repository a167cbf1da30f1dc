"""Loading the tokenizer of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrsearch.files import read_json
from mrsearch.policy.generation_import import import_generation

PROBE = "Köln won 1,234.5 points  in <b>2024</b>,\n\n\tdidn't  it?  北京 🎉 naïve x_y\n </answer>"
"""Digits, runs of spaces, line breaks, other scripts, tags: what tokenizers split in different ways."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer that the folder's tokenizer.json describes, or the one that its other files do.

    transformers replaces the file's splitting by that of the class or model type it is labelled with; the generic class
    reads the file as it is, which a probe text proves. ValueError where the folder holds no tokenizer, one that needs
    code of its own, or one that gives other ids than its file.
    """
    folder = Path(folder)
    config, file = folder / "tokenizer_config.json", folder / "tokenizer.json"
    if not config.is_file():
        raise ValueError(f"{folder} holds no tokenizer: {config.name} is missing")
    try:
        json.loads(config.read_text(encoding="utf-8"))
        tokenizer = _loader(file).from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises what it likes, bare exceptions of its parser among them
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{folder}: the tokenizer cannot be read ({reason}): download it again; code in it is not run"
        ) from error
    if file.is_file():
        _prove(tokenizer, file)
    elif not any((folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
        # The library would go on with an empty vocabulary.
        raise ValueError(f"{folder} holds no tokenizer: tokenizer.json is missing: download it again")
    return tokenizer


def _loader(file: Path) -> Any:
    """The class that reads the file where it is there, which needs no model; else the one that knows every model."""
    if file.is_file():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    import_generation()
    from transformers import AutoTokenizer

    return AutoTokenizer


def require_no_code(folder: Path) -> None:
    """ValueError where the folder names code of its own for its tokenizer: verl opens one and lets such code run,
    whatever it is told."""
    settings, model = (read_json(Path(folder) / name) for name in ("tokenizer_config.json", "config.json"))
    classes = _auto_map(model)
    if _auto_map(settings):
        file = "tokenizer_config.json"
    elif "AutoTokenizer" in classes or (classes and not (settings or {}).get("tokenizer_class")):
        file = "config.json"
    else:
        return
    raise ValueError(
        f"{Path(folder) / file}: names code of its own (auto_map), which verl would run with the tokenizer: delete "
        "that key, after which the library's own classes are used"
    )


def _auto_map(settings: Any) -> dict[str, Any]:
    classes = settings.get("auto_map") if isinstance(settings, dict) else None
    return classes if isinstance(classes, dict) else {}


def _prove(tokenizer: Any, file: Path) -> None:
    from tokenizers import Tokenizer

    alone = Tokenizer.from_file(str(file))
    alone.no_truncation()
    alone.no_padding()
    if alone.encode(PROBE, add_special_tokens=False).ids != tokenizer.encode(PROBE, add_special_tokens=False):
        raise ValueError(
            f"{file}: the installed transformers splits text otherwise than the file: compare tokenizer_config.json, "
            "or save the folder anew with the version that trained it"
        )
