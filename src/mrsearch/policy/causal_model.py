"""Opening the causal language model of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsearch.policy.architectures import attention, require_supported
from mrsearch.policy.generation_import import import_generation


def load_config(folder: Path) -> Any:
    """The configuration of a model folder; ValueError where it has none, or one that needs code of its own."""
    import_generation()  # a configuration's class imports the models' modules to describe itself
    from transformers import AutoConfig

    if not (Path(folder) / "config.json").is_file():
        raise ValueError(f"{folder} is not a Hugging Face model folder: it holds no config.json")
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_model(folder: Path, dtype: Any, *, generates: bool = True, **options: Any) -> Any:
    """The model in the given precision (a torch dtype, or "auto" for the file's own), on the CPU.

    generates: whether this process generates or trains with it. options: for `from_pretrained`.
    ValueError for a folder that is no model, and, where it
    does, for an architecture that is not supported.
    """
    import_generation()
    from transformers import AutoModelForCausalLM

    config = load_config(folder)
    if generates:
        require_supported(config, str(folder))
    loader: Any = AutoModelForCausalLM
    return loader.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        dtype=dtype,
        attn_implementation=attention(config),
        **options,
    )
