"""verl's configuration of a training that is only looked at."""

from __future__ import annotations

from mrsearch.config import Run, Study
from mrsearch.config.layout import Layout
from mrsearch.training.verl import recipe, sft_recipe


def preview(study: Study, model: str, method: str, seed: int) -> str:
    """The whole configuration as YAML, with the default places of its files; ValueError where the study names no such
    model, or no such training with verl."""
    for key, name, known in (("model", model, study.models), ("method", method, study.methods)):
        if name not in known:
            raise ValueError(f"--{key} ({name!r}) is not in {study.name}: known are {', '.join(known)}")
    stage = study.training_stage(method) if study.methods[method].train else None
    if stage in (None, "warm_start") or (stage == "fine_tuning" and not study.trained_by_verl(method)):
        raise ValueError(
            f"methods.{method} is not trained by verl: it has neither a policy training nor a fine-tuning with "
            "fine_tuning.backend: verl"
        )
    layout = Layout(Run(study=study.name), study)
    run_dir, start = layout.scratch(model, method, seed), layout.start(model, method, seed)
    if stage == "fine_tuning":
        own = sft_recipe.Places.below(run_dir, start, run_dir / "traces.parquet")
        return recipe.as_yaml(sft_recipe.compose(sft_recipe.settings(study, model, method, seed, own)))
    places = recipe.Places.below(run_dir, start)
    return recipe.as_yaml(recipe.compose(recipe.settings(study, model, method, seed, places)))
