"""One training as a value: what is trained, from what, and where its files lie."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsearch.config import Run, Study
from mrsearch.config.layout import Layout
from mrsearch.config.load import validated
from mrsearch.config.study import TrainingStage
from mrsearch.config.training import Train
from mrsearch.files import write_json

if TYPE_CHECKING:
    import torch

    from mrsearch.tracking import Tracker


FILES = ("inputs", "out")
"""Fields that hold paths."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files and folders that a training reads; reading them changes none."""

    start: Path
    """Hugging Face folder of the starting weights."""
    questions: Path
    """Parquet file of the training questions."""
    corpus: Path
    """Folder of the passage store."""
    indexes: Path
    """Folder that holds one index folder per retriever."""
    endpoint: Path | None = None
    """Endpoint file of the running retriever; None where the index is opened in the process."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a training makes."""

    model: Path
    """Hugging Face folder of the trained weights; kept groups lie beside it."""
    log: Path
    """The training log, one JSON row a step."""
    record: Path
    """run.json: configuration, revisions, hashes, hardware."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One method of a study, trained from one model with one seed. ValueError where the study has no such training."""

    study: Study
    """As the method has it: its own settings in the place of the shared ones."""
    model: str
    method: str
    seed: int
    inputs: Inputs
    out: Outputs
    folder: Path
    """Checkpoints, logs and the tracker's files: no rule declares it, so an interrupted training continues."""

    def __post_init__(self) -> None:
        _check_names(self.study, self.model, self.method)
        self.study.training_stage(self.method)
        object.__setattr__(self, "study", self.study.of(self.method))

    @property
    def title(self) -> str:
        """What people read, and the tracker's name: `model/method/seedK`."""
        return f"{self.model}/{self.method}/seed{self.seed}"

    @property
    def reference(self) -> str:
        """The title where no slash may stand: `model-method-seedK`."""
        return self.title.replace("/", "-")

    @property
    def names(self) -> dict[str, str | int]:
        """Model, method and seed under these names."""
        return {"model": self.model, "method": self.method, "seed": self.seed}

    @property
    def stage(self) -> TrainingStage:
        """Whose settings and resources it takes."""
        return self.study.training_stage(self.method)

    @property
    def steps(self) -> int:
        """Steps at most."""
        return self.study.training_steps(self.method)

    def device(self) -> torch.device:
        """Where a trainer in one process computes: on the GPU that its stage's resources ask for, else on the CPU;
        ValueError where PyTorch cannot use the one that is there."""
        from mrsearch.policy.arithmetic import job_device

        return job_device(getattr(self.study.resources, self.stage).gpus, f"resources.{self.stage}.gpus")

    @property
    def settings(self) -> Train:
        """The method's own settings of its training."""
        train = self.study.methods[self.method].train
        assert train is not None
        return train

    @property
    def demonstrations(self) -> Path:
        """Parquet file of the demonstrations that it made for itself."""
        return self.folder / "demonstrations.parquet"

    @property
    def demonstration_counts(self) -> Path:
        """What the demonstrations were made from, and their share of what was made."""
        return self.folder / "demonstrations.json"

    @classmethod
    def planned(cls, study: Study, model: str, method: str, seed: int) -> TrainingRun:
        """The training with its files where the layout of the study's own results puts them."""
        _check_names(study, model, method)
        layout, names = Layout(Run(study=study.name), study), (model, method, seed)
        inputs = Inputs(layout.start(*names), layout.questions("train"), layout.corpus, layout.indexes)
        out = Outputs(layout.model(*names), layout.train_log(*names), layout.training_record(*names))
        return cls(study, *names, inputs, out, layout.scratch(*names))

    def absolute(self) -> TrainingRun:
        """The same with absolute paths, as processes elsewhere need them."""
        inputs = Inputs(**{name: path and path.absolute() for name, path in _paths(self.inputs).items()})  # type: ignore[arg-type]
        out = Outputs(**{name: path and path.absolute() for name, path in _paths(self.out).items()})  # type: ignore[arg-type]
        return dataclasses.replace(self, inputs=inputs, out=out, folder=self.folder.absolute())

    def write(self, path: Path) -> None:
        """Hand it to other processes: `read` gives an equal one."""
        files = {key: {name: path and str(path) for name, path in _paths(getattr(self, key)).items()} for key in FILES}
        study = self.study.model_dump(mode="json")
        write_json(path, {**self.names, **files, "folder": str(self.folder), "study": study})

    @classmethod
    def read(cls, path: str | Path) -> TrainingRun:
        """The training that `write` wrote."""
        values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        inputs, out = ({name: text and Path(text) for name, text in values[key].items()} for key in FILES)
        study = validated(Study, values["study"], str(path))
        names = (values["model"], values["method"], values["seed"])
        return cls(study, *names, Inputs(**inputs), Outputs(**out), Path(values["folder"]))

    def tracker(self) -> Tracker:
        """Its reports to Weights & Biases, begun or continued."""
        from mrsearch.tracking import Tracker

        described = self.study.model_dump(mode="json")
        return Tracker.start(self.study.name, self.model, self.method, self.seed, described, self.folder)


def _check_names(study: Study, model: str, method: str) -> None:
    for option, name, names in (("model", model, study.models), ("method", method, study.methods)):
        if name not in names:
            raise ValueError(f"--{option} ({name!r}) is not in {study.name}: known are {', '.join(names)}")


def _paths(files: Inputs | Outputs) -> dict[str, Path | None]:
    return {field.name: getattr(files, field.name) for field in dataclasses.fields(files)}
