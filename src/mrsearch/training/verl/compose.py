"""verl's shipped defaults with our changes, strictly."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.training.verl.overrides import with_overrides

if TYPE_CHECKING:
    from omegaconf import DictConfig


SINGLE = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
"""verl's words for arithmetic in float32 throughout."""


def compose_with(
    defaults: str,
    changes: dict[str, Any],
    section: str,
    open_up: Callable[[Any], None],
    choices: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> DictConfig:
    """verl's file `defaults` with the changes; a key that the installed verl does not have is a ValueError.

    section: the key of what our own trainer reads, which verl cannot know. `open_up` sets keys that hold whatever their
    readers know, so that they may be changed; `choices` choose among verl's groups of defaults; `overrides` are the
    study's values for verl's own dotted keys.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    # By its folder: as a module, verl would be imported for it, which takes longer than all else here.
    with initialize_config_dir(version_base=None, config_dir=str(_shipped())):
        config = compose(defaults, overrides=list(choices))
    with open_dict(config):
        open_up(config)
    verl_changes = {name: value for name, value in changes.items() if name != section}
    try:
        merged = OmegaConf.merge(config, verl_changes)
    except OmegaConfBaseException as error:
        raise ValueError(f"the installed verl has no such setting: {' '.join(str(error).split())}") from error
    assert isinstance(merged, type(config))
    merged = with_overrides(merged, overrides or {})
    with open_dict(merged):
        merged[section] = changes[section]
    return merged


def _shipped() -> Path:
    """The installed verl's folder of defaults; ModuleNotFoundError where there is none."""
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("no verl is installed here", name="verl")
    return Path(spec.submodule_search_locations[0]) / "trainer" / "config"


def as_yaml(config: DictConfig) -> str:
    """The whole configuration, references resolved."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(config, resolve=True, sort_keys=False)
