"""verl's configuration of a training that is only looked at."""

from __future__ import annotations

from mrsearch.config import Run, Study
from mrsearch.config.layout import Layout
from mrsearch.training.verl import recipe


def preview(study: Study, model: str, method: str, seed: int) -> str:
    """The whole configuration as YAML, with the default places of its files; ValueError where the study names no such
    model or policy training."""
    for key, name, known in (("model", model, study.models), ("method", method, study.methods)):
        if name not in known:
            raise ValueError(f"--{key} ({name!r}) is not in {study.name}: known are {', '.join(known)}")
    train = study.methods[method].train
    if train is None or train.algorithm == "sft":
        raise ValueError(f"methods.{method} is not trained by verl: it has no policy training")
    layout = Layout(Run(study=study.name), study)
    run_dir = layout.scratch(model, method, seed)
    places = recipe.Places.below(run_dir, layout.start(model, method, seed))
    return recipe.as_yaml(recipe.compose(recipe.settings(study, model, method, seed, places)))
