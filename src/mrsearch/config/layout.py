"""Where every file of a study lies: the one place that knows the folders below `paths.results`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from mrsearch.config.data import HubData
from mrsearch.config.load import digest
from mrsearch.config.models import HubModel
from mrsearch.config.run import Run
from mrsearch.config.study import Study
from mrsearch.config.trained_models import RUN_FILE

STUDY_FILE = "study.json"
TRAIN_LOG = "train.jsonl"
RECORDS = ".jsonl.zst"
"""How names of files of records end."""
GROUPS_FILE = f"groups{RECORDS}"
MODELS = "models"
Seed = int | str
"""A seed, or Snakemake's wildcard for it."""
RecordKey = tuple[str, str, int, str, str]
"""Model, method, seed, decoding and benchmark of a file of records, and of the file of its scores."""


def seed_folder(parent: Path, model: str, method: str, seed: Seed) -> Path:
    """Where `parent`, a folder of trainings or of evaluations, keeps one of them."""
    return parent / model / method / f"seed{seed}"


def questions_file(folder: Path, dataset: str) -> Path:
    """Questions of a benchmark, or of "train", in a folder of questions."""
    return folder / f"{dataset}.parquet"


def record_file(folder: Path, benchmark: str, decoding: str) -> Path:
    """Meta-episodes of one benchmark under one decoding, in the folder of one evaluation."""
    return folder / f"{benchmark}.{decoding}{RECORDS}"


def old_record_file(records: Path) -> Path:
    """Where version 1 of records kept what `records` is now."""
    return records.with_name(f"{records.name.removesuffix(RECORDS)}.jsonl.gz")


def cost_file(records: Path) -> Path:
    """What a file of records cost, beside it while its evaluation runs."""
    return records.with_name(f"{records.name.removesuffix(RECORDS)}.cost.json")


def score_file(folder: Path, benchmark: str, decoding: str) -> Path:
    """Every question's scores, beside the meta-episodes of the same benchmark and decoding."""
    return folder / f"{benchmark}.{decoding}.scores.parquet"


def all_record_files(study: Study, evaluations: Path) -> dict[RecordKey, Path]:
    """Every file of records of the study, in its folder of evaluations."""
    return _all_files(study, evaluations, record_file)


def all_score_files(study: Study, evaluations: Path) -> dict[RecordKey, Path]:
    """Every file of scores of the study, in its folder of evaluations."""
    return _all_files(study, evaluations, score_file)


def _all_files(study: Study, evaluations: Path, file: Callable[[Path, str, str], Path]) -> dict[RecordKey, Path]:
    keys = itertools.product(study.models, study.methods, study.seeds, study.evaluation.decoding, study.benchmarks)
    return {
        (model, method, seed, decoding, benchmark): file(
            seed_folder(evaluations, model, method, seed), benchmark, decoding
        )
        for model, method, seed, decoding, benchmark in keys
    }


class StudyFolder:
    """What lies in a study's own folder. Arguments may be Snakemake wildcards such as "{model}"."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def study(self) -> Path:
        """The resolved study, overrides and seeds applied."""
        return self.root / STUDY_FILE

    @property
    def questions_folder(self) -> Path:
        """Folder of all questions."""
        return self.root / "data"

    def questions(self, dataset: str) -> Path:
        """Questions of a benchmark, or of "train"."""
        return questions_file(self.questions_folder, dataset)

    @property
    def overlap(self) -> Path:
        """What published training questions share with the benchmarks."""
        return self.questions_folder / "overlap.json"

    def endpoint(self, retriever: str) -> Path:
        """The running retriever's endpoint file, while it runs."""
        return self.root / "service" / f"{retriever}.json"

    def started(self, retriever: str) -> Path:
        """Mark that the retriever's rule has run; it stays when the server is stopped."""
        return self.root / "service" / f"{retriever}.started"

    def retrieval_report(self, kind: str) -> Path:
        """The report on the compared retrievers, as "csv" or "md"."""
        return self.root / "retrieval" / f"quality.{kind}"

    @property
    def logs(self) -> Path:
        """Folder of all logs."""
        return self.root / "logs"

    def log(self, stage: str) -> Path:
        """Log of one job."""
        return self.logs / f"{stage}.log"

    @property
    def timings(self) -> Path:
        """Folder of Snakemake's measurements; the first part of a file's place is its stage."""
        return self.root / "benchmarks"

    def timing(self, stage: str) -> Path:
        """Snakemake's measurement of one job's time and memory."""
        return self.timings / f"{stage}.tsv"

    @property
    def models(self) -> Path:
        """Folder of all trainings."""
        return self.root / MODELS

    def training_job(self, model: str, method: str, seed: Seed) -> str:
        """The name of a training's log and measurement."""
        return seed_folder(self.models, model, method, seed).relative_to(self.root).as_posix()

    def trained(self, model: str, method: str, seed: Seed) -> Path:
        """Folder of one trained method: the exported model, its training log and its run.json."""
        return seed_folder(self.models, model, method, seed)

    def model(self, model: str, method: str, seed: Seed) -> Path:
        """Hugging Face folder of what a training made."""
        return self.trained(model, method, seed) / "model"

    def train_log(self, model: str, method: str, seed: Seed) -> Path:
        """The training log."""
        return self.trained(model, method, seed) / TRAIN_LOG

    def training_record(self, model: str, method: str, seed: Seed) -> Path:
        """The training's run.json."""
        return self.trained(model, method, seed) / RUN_FILE

    def scratch(self, model: str, method: str, seed: Seed) -> Path:
        """Undeclared folder of checkpoints and job state, which must survive a failed job."""
        return seed_folder(self.root / "runs", model, method, seed)

    def tracked(self, model: str, method: str, seed: Seed) -> Path:
        """Undeclared folder of W&B's files about an evaluation."""
        return seed_folder(self.root / "runs" / "eval", model, method, seed)

    def tracked_runs(self) -> list[Path]:
        """Offline runs of W&B, of trainings and evaluations."""
        return sorted(path for path in self.root.glob("runs/**/wandb/offline-run-*") if path.is_dir())

    @property
    def evaluations(self) -> Path:
        """Folder of all evaluations."""
        return self.root / "eval"

    def evaluation_job(self, model: str, method: str, seed: Seed) -> str:
        """The name of an evaluation's log and measurement."""
        return self.records(model, method, seed).relative_to(self.root).as_posix()

    def records(self, model: str, method: str, seed: Seed) -> Path:
        """Folder of what one evaluation writes: meta-episodes, scores and run.json."""
        return seed_folder(self.evaluations, model, method, seed)

    def evaluation_record(self, model: str, method: str, seed: Seed) -> Path:
        """The evaluation's run.json."""
        return self.records(model, method, seed) / RUN_FILE

    def evaluated(self) -> Iterator[tuple[str, str, int]]:
        """Model, method and seed of every evaluation that is there."""
        for folder in sorted(path for path in self.evaluations.glob("*/*/seed*") if path.is_dir()):
            model, method, seed = folder.relative_to(self.evaluations).parts
            yield model, method, int(seed.removeprefix("seed"))

    def cache(self, model: str, method: str, seed: Seed) -> Path:
        """Undeclared folder of an evaluation's finished parts."""
        return seed_folder(self.root / "cache", model, method, seed)

    @property
    def scores(self) -> Path:
        """Every question's scores."""
        return self.root / "scores.parquet"

    @property
    def metrics(self) -> Path:
        """The numbers that tables and figures are made from."""
        return self.root / "metrics.parquet"

    @property
    def tables(self) -> Path:
        """Folder of tables."""
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.root / "figures"

    @property
    def viewer(self) -> Path:
        """The page that browses meta-episodes."""
        return self.root / "viewer"


class Layout(StudyFolder):
    """A study's own folder, and what it reads and shares with others."""

    def __init__(self, run: Run, study: Study) -> None:
        super().__init__(Path(run.paths.results) / study.name)
        self._study = study
        self.resources = Path(run.paths.resources)
        self._passages_home = self.resources / _shared_corpus(study.data) if study.data.kind == "hub" else self.root

    @property
    def downloads(self) -> Path:
        """Folder of verified downloads, one folder each, shared between studies."""
        return self.resources / "downloads"

    @property
    def corpus(self) -> Path:
        """Folder of the passage store; published corpora are shared between studies."""
        return self._passages_home / "corpus"

    @property
    def indexes(self) -> Path:
        """Folder that holds one index folder per retriever."""
        if self._passages_home == self.root:
            return self.root / "index"
        return self._passages_home / f"index-{digest(self._study.retrieval.retrievers)}"

    def index(self, retriever: str) -> Path:
        """Index folder of a dense or lexical retriever."""
        return self.indexes / retriever

    def base(self, model: str) -> Path:
        """Hugging Face folder of an untrained model; downloaded ones are shared between studies."""
        source = self._study.models.get(model)
        if isinstance(source, HubModel):
            return self.published / published(source)
        return self.models / model / "base"

    @property
    def published(self) -> Path:
        """Folder of downloaded models."""
        return self.resources / MODELS

    def record_files(self, model: str, method: str, seed: Seed) -> list[Path]:
        """The meta-episodes of one evaluation, a file per benchmark and decoding."""
        return self._evaluation_files(record_file, model, method, seed)

    def score_files(self, model: str, method: str, seed: Seed) -> list[Path]:
        """The scores of one evaluation, a file per benchmark and decoding."""
        return self._evaluation_files(score_file, model, method, seed)

    def evaluation_files(self, model: str, method: str, seed: Seed) -> list[Path]:
        """What one evaluation writes: meta-episodes, scores, then run.json."""
        job = (model, method, seed)
        return [*self.record_files(*job), *self.score_files(*job), self.evaluation_record(*job)]

    def _evaluation_files(
        self, file: Callable[[Path, str, str], Path], model: str, method: str, seed: Seed
    ) -> list[Path]:
        pairs = itertools.product(self._study.benchmarks, self._study.evaluation.decoding)
        return [file(self.records(model, method, seed), *pair) for pair in pairs]

    def policy(self, model: str, method: str, seed: int) -> Path:
        """Hugging Face folder of the weights that run `method`."""
        trained = self._study.policy_of(method)
        return self.base(model) if trained == "base" else self.model(model, trained, seed)

    def start(self, model: str, method: str, seed: int) -> Path:
        """Hugging Face folder of the weights that training of `method` starts from."""
        training = self._study.methods[method].train
        assert training is not None, f"{method} is not trained"
        return self.base(model) if training.start == "base" else self.model(model, training.start, seed)


def _shared_corpus(data: HubData) -> str:
    """Folder name of a published corpus; one that a study declares carries what it declares."""
    declared = data.rows.get(data.corpus)
    return data.corpus if declared is None else f"{data.corpus}-{digest(declared)}"


def published(model: HubModel) -> str:
    """Folder name of a published model, which carries its revision."""
    return f"{model.repository.replace('/', '--')}@{model.revision}"
