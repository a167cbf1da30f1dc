"""The study: what is compared, on what, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from mrsearch.config.base import Model, Name
from mrsearch.config.data import Benchmark, Data
from mrsearch.config.methods import ONE_GENERATION, Method
from mrsearch.config.models import LanguageModel
from mrsearch.config.protocol import Decoding, Protocol
from mrsearch.config.retrieval import Retrieval
from mrsearch.config.serving import Engine
from mrsearch.config.supervised import FineTuning, Supervised, WarmStart
from mrsearch.config.training import PolicyTraining

TrainingStage = Literal["warm_start", "fine_tuning", "train"]


class Resources(Model):
    """What one job of a stage asks for."""

    threads: PositiveInt = 1
    """CPU cores."""
    mem_mb: PositiveInt = 4000
    """Memory."""
    runtime: PositiveInt = 60
    """Minutes."""
    gpus: NonNegativeInt = 0
    """GPUs per node."""
    nodes: PositiveInt = 1
    """Nodes."""


class StageResources(Model):
    """Resources by stage."""

    data: Resources = Resources()
    """Preparing questions and passages."""
    index: Resources = Resources()
    """Encoding passages and building the index."""
    retriever: Resources = Resources()
    """The retrieval server."""
    warm_start: Resources = Resources()
    """Supervised training on scripted traces."""
    fine_tuning: Resources = Resources()
    """Supervised training on answers or on the policy's own meta-episodes, their sampling included."""
    train: Resources = Resources()
    """Reinforcement learning."""
    evaluate: Resources = Resources()
    """Evaluation of one method."""
    report: Resources = Resources()
    """Metrics, tables and figures."""


class Evaluation(Model):
    """How methods are evaluated."""

    decoding: dict[Name, Decoding] = {"greedy": Decoding()}
    """Named ways of sampling; every method is evaluated under each."""
    concurrency: PositiveInt = 400
    """Meta-episodes that run at the same time."""
    engine: Engine = Engine()
    """Who generates tokens."""


class Report(Model):
    """What the report compares and how it states uncertainty."""

    baseline: Name = "search_r1"
    """Method that relative improvement refers to."""
    decoding: Name = "greedy"
    """Decoding of the main table."""
    bootstrap_samples: PositiveInt = 2000
    """Resamples behind every interval."""
    confidence: float = 0.95
    """Coverage of the intervals."""
    seed: NonNegativeInt = 0
    """Seed of the resampling."""
    scaling: bool = False
    """Write the table and the figure of test-time scaling: EM by number of episodes and by tokens."""


class Study(Model):
    """Everything that decides a study's numbers."""

    name: Name
    """Name of the study and of its folder below `paths.results`."""
    title: str = ""
    """One line that says what the study is for."""
    seeds: tuple[NonNegativeInt, ...] = (0,)
    """Training seeds; every trained method is trained once per seed."""
    data: Data
    """Where questions and passages come from."""
    protocol: Protocol = Protocol()
    """Prompts, formats and budgets."""
    retrieval: Retrieval
    """The retrievers."""
    models: dict[Name, LanguageModel]
    """Language models by name."""
    methods: dict[Name, Method]
    """Methods by name, in the order of the tables."""
    benchmarks: dict[Name, Benchmark]
    """Benchmarks by name, in the order of the tables."""
    warm_start: WarmStart = WarmStart()
    """Supervised training on scripted traces."""
    fine_tuning: FineTuning = FineTuning()
    """Supervised training on answers or on the policy's own meta-episodes."""
    training: PolicyTraining = PolicyTraining()
    """Reinforcement learning."""
    evaluation: Evaluation = Evaluation()
    """Decoding and concurrency."""
    report: Report = Report()
    """Baseline and intervals."""
    resources: StageResources = StageResources()
    """What each stage's jobs ask for."""

    def policy_of(self, method: str) -> str:
        """Whose weights run `method`: "base" or the name of a trained method."""
        chosen = self.methods[method]
        return method if chosen.train else chosen.policy or "base"

    def training_stage(self, method: str) -> TrainingStage:
        """The stage whose settings and resources a training of `method` takes; ValueError where it trains nothing."""
        train = self.methods[method].train
        if train is None:
            raise ValueError(f"methods.{method} trains nothing: it runs the policy of {self.policy_of(method)!r}")
        if train.algorithm != "sft":
            return "train"
        return "warm_start" if train.demonstrations == "script" else "fine_tuning"

    def training_steps(self, method: str) -> int:
        """Steps of a training of `method` at most; ValueError as `training_stage`."""
        settings: dict[TrainingStage, Supervised | PolicyTraining] = {
            "warm_start": self.warm_start,
            "fine_tuning": self.fine_tuning,
            "train": self.training,
        }
        return settings[self.training_stage(method)].steps

    def trained_by_verl(self, method: str) -> bool:
        """Whether the training of `method` runs in verl; ValueError as `training_stage`."""
        stage = self.training_stage(method)
        return stage != "warm_start" and (self.training if stage == "train" else self.fine_tuning).backend == "verl"

    def turns_of(self, method: str) -> int:
        """Turn budget of an episode of `method`."""
        return self.methods[method].turns or self.protocol.turns

    def indexed(self) -> tuple[str, ...]:
        """Retrievers whose indexes the study's searches need: the one in use, or the two that it fuses."""
        return self._parts(self.retrieval.use)

    def compared(self) -> tuple[str, ...]:
        """Retrievers whose indexes the report on retrieval needs, each once."""
        return tuple(dict.fromkeys(part for name in self.retrieval.compared for part in self._parts(name)))

    def _parts(self, retriever: str) -> tuple[str, ...]:
        chosen = self.retrieval.retrievers[retriever]
        return chosen.of if chosen.kind == "hybrid" else (retriever,)

    @model_validator(mode="after")
    def _not_empty(self) -> Study:
        for key in ("seeds", "models", "methods", "benchmarks"):
            if not getattr(self, key):
                raise ValueError(f"{key} is empty: a study needs at least one")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds ({list(self.seeds)}) repeats a seed")
        if "base" in self.methods:
            raise ValueError('methods.base: "base" names the untrained model; choose another name')
        return self

    @model_validator(mode="after")
    def _references_exist(self) -> Study:
        trained = {name for name, method in self.methods.items() if method.train}
        for name, method in self.methods.items():
            if method.compare_with is not None and method.compare_with not in self.methods:
                raise ValueError(
                    f"methods.{name}.compare_with ({method.compare_with!r}) is not a method of this study: "
                    f"{_known(self.methods)}"
                )
            if method.policy not in (None, "base") and method.policy not in trained:
                raise ValueError(
                    f"methods.{name}.policy ({method.policy!r}) is not a trained method of this study: "
                    f"{_known(trained)}"
                )
            if method.train and method.train.start != "base" and method.train.start not in trained:
                raise ValueError(
                    f"methods.{name}.train.start ({method.train.start!r}) is not a trained method of this study: "
                    f"{_known(trained)}"
                )
        if self.report.baseline not in self.methods:
            raise ValueError(
                f"report.baseline ({self.report.baseline!r}) is not a method of this study: {_known(self.methods)}"
            )
        if self.report.decoding not in self.evaluation.decoding:
            raise ValueError(
                f"report.decoding ({self.report.decoding!r}) is not in evaluation.decoding: "
                f"{_known(self.evaluation.decoding)}"
            )
        if self.report.scaling and all(method.episodes == 1 for method in self.methods.values()):
            raise ValueError("report.scaling is about methods of several episodes, and this study has none: remove it")
        self._check_start_cycles()
        return self

    @model_validator(mode="after")
    def _retrieval_fits(self) -> Study:
        retrievers = self.retrieval.retrievers
        if self.retrieval.use not in retrievers:
            raise ValueError(
                f"retrieval.use ({self.retrieval.use!r}) is not among retrieval.retrievers: {_known(retrievers)}"
            )
        for name in self.retrieval.compared:
            if name not in retrievers or self.retrieval.compared.count(name) > 1:
                raise ValueError(
                    f"retrieval.compared names {name!r}, which is not a retriever of the study or stands there twice: "
                    f"{_known(retrievers)}"
                )
        for name, retriever in retrievers.items():
            if retriever.kind == "hybrid":
                for part in retriever.of:
                    if part not in retrievers or retrievers[part].kind == "hybrid":
                        raise ValueError(
                            f"retrieval.retrievers.{name}.of names {part!r}, which is not a dense or lexical retriever "
                            "of this study"
                        )
        if self.retrieval.topk > self.retrieval.service.max_topk:
            raise ValueError(
                f"retrieval.topk ({self.retrieval.topk}) is larger than retrieval.service.max_topk "
                f"({self.retrieval.service.max_topk})"
            )
        return self

    @model_validator(mode="after")
    def _benchmarks_distinct(self) -> Study:
        seen: dict[str, str] = {}
        for name, benchmark in self.benchmarks.items():
            source = benchmark.source or name
            if source in seen:
                raise ValueError(
                    f"benchmarks.{name} reads {source!r}, which benchmarks.{seen[source]} reads already: a benchmark "
                    "may appear once"
                )
            seen[source] = name
        if not any(benchmark.average for benchmark in self.benchmarks.values()):
            raise ValueError("no benchmark has average: true, so there would be no mean to report")
        return self

    @model_validator(mode="after")
    def _trainable(self) -> Study:
        for name, method in self.methods.items():
            if method.train and self.training_stage(name) == "warm_start" and self.data.kind != "world":
                raise ValueError(
                    f"methods.{name}.train.algorithm (sft) needs scripted traces, which only data.kind: world has: set "
                    "train.demonstrations to answers or own"
                )
            if method.train and method.train.demonstrations == "answers" and method.procedure not in ONE_GENERATION:
                raise ValueError(
                    f"methods.{name}.train.demonstrations (answers) has no reply for procedure {method.procedure}: use "
                    f"one of {', '.join(ONE_GENERATION)}, or demonstrations: own"
                )
            if method.train and method.train.algorithm == "ppo" and self.training.backend == "local":
                raise ValueError(
                    f"methods.{name}.train.algorithm (ppo) needs a critic, which training.backend: local does not "
                    "have; use verl"
                )
            if method.train and self.data.kind == "folder":
                raise ValueError(
                    f"methods.{name}.train: data.kind: folder has no training questions; evaluate with policy: base"
                )
        return self

    @model_validator(mode="after")
    def _fine_tuning_fits(self) -> Study:
        tuned = [name for name, method in self.methods.items() if method.train and self.trained_by_verl(name)]
        if not any(self.training_stage(name) == "fine_tuning" for name in tuned):
            return self
        own, asked = self.fine_tuning, self.resources.fine_tuning
        if asked.nodes != 1:
            raise ValueError(
                f"resources.fine_tuning.nodes ({asked.nodes}): fine_tuning.backend verl trains on one node: set 1"
            )
        ranks = asked.gpus or own.cpu_ranks
        if own.batch_traces % (ranks * own.microbatch):
            raise ValueError(
                f"fine_tuning.batch_traces ({own.batch_traces}) must be a multiple of fine_tuning.microbatch "
                f"({own.microbatch}) on each of {ranks} ranks"
            )
        return self

    def _check_start_cycles(self) -> None:
        for name in self.methods:
            path, here = [name], self.methods[name].train
            while here and here.start != "base":
                if here.start in path:
                    raise ValueError(f"methods.{name}.train.start runs in a circle: {' -> '.join([*path, here.start])}")
                path.append(here.start)
                here = self.methods[here.start].train


def _known(names: object) -> str:
    return "known are " + ", ".join(sorted(map(str, names)))  # type: ignore[call-overload]
