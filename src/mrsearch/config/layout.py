"""Where every file of a study lies: the one place that knows the folders below `paths.results`."""

from __future__ import annotations

from pathlib import Path

from mrsearch.config.load import digest
from mrsearch.config.models import HubModel
from mrsearch.config.run import Run
from mrsearch.config.study import Study


class Layout:
    """Paths of one study. Arguments may be Snakemake wildcards such as "{model}"."""

    def __init__(self, run: Run, study: Study) -> None:
        self._study = study
        self.root = Path(run.paths.results) / study.name
        self.resources = Path(run.paths.resources)
        shared = study.data.kind == "hub"
        self._passages_home = self.resources / study.data.corpus if shared else self.root  # type: ignore[union-attr]

    @property
    def study(self) -> Path:
        """The resolved study, overrides and seeds applied."""
        return self.root / "study.json"

    @property
    def downloads(self) -> Path:
        """Folder of verified downloads, one folder each, shared between studies."""
        return self.resources / "downloads"

    def questions(self, dataset: str) -> Path:
        """Questions of a benchmark, or of "train"."""
        return self.root / "data" / f"{dataset}.parquet"

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

    def token(self, retriever: str) -> Path:
        """The running retriever's token, while it runs."""
        return self.root / "service" / f"{retriever}.json"

    def retrieval_report(self, kind: str) -> Path:
        """The report on the compared retrievers, as "csv" or "md"."""
        return self.root / "retrieval" / f"quality.{kind}"

    def started(self, retriever: str) -> Path:
        """Mark that the retriever's rule has run; it stays when the server is stopped."""
        return self.root / "service" / f"{retriever}.started"

    def base(self, model: str) -> Path:
        """Hugging Face folder of an untrained model; downloaded ones are shared between studies."""
        source = self._study.models.get(model)
        if isinstance(source, HubModel):
            return self.resources / "models" / published(source)
        return self.root / "models" / model / "base"

    def log(self, stage: str) -> Path:
        """Log of one job."""
        return self.root / "logs" / f"{stage}.log"

    def timing(self, stage: str) -> Path:
        """Snakemake's measurement of one job's time and memory."""
        return self.root / "benchmarks" / f"{stage}.tsv"

    def trained(self, model: str, method: str, seed: int | str) -> Path:
        """Folder of one trained method: the exported model, its training log and its run.json."""
        return self.root / "models" / model / method / f"seed{seed}"

    def scratch(self, model: str, method: str, seed: int | str) -> Path:
        """Undeclared folder of checkpoints and job state, which must survive a failed job."""
        return self.root / "runs" / model / method / f"seed{seed}"

    def cache(self, model: str, method: str, seed: int | str) -> Path:
        """Undeclared folder of an evaluation's finished parts."""
        return self.root / "cache" / model / method / f"seed{seed}"

    def records(self, model: str, method: str, seed: int | str) -> Path:
        """Folder of what one evaluation writes: meta-episodes and run.json."""
        return self.root / "eval" / model / method / f"seed{seed}"

    def record_files(self, model: str, method: str, seed: int | str) -> list[Path]:
        """The files in it: one per benchmark and decoding, then run.json."""
        folder, study = self.records(model, method, seed), self._study
        names = [f"{benchmark}.{decoding}" for benchmark in study.benchmarks for decoding in study.evaluation.decoding]
        return [*(folder / f"{name}.jsonl.gz" for name in names), folder / "run.json"]

    def policy(self, model: str, method: str, seed: int) -> Path:
        """Hugging Face folder of the weights that run `method`."""
        trained = self._study.policy_of(method)
        return self.base(model) if trained == "base" else self.trained(model, trained, seed) / "model"

    def start(self, model: str, method: str, seed: int) -> Path:
        """Hugging Face folder of the weights that training of `method` starts from."""
        training = self._study.methods[method].train
        assert training is not None, f"{method} is not trained"
        return self.base(model) if training.start == "base" else self.trained(model, training.start, seed) / "model"


def published(model: HubModel) -> str:
    """Folder name of a published model, which carries its revision."""
    return f"{model.repository.replace('/', '--')}@{model.revision}"
