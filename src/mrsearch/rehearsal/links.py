"""The links of a rehearsal: each does with the real commands what the pipeline will do, and says what it measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrsearch.cluster.stopping import STOPPED
from mrsearch.config import Run, Study, write_study
from mrsearch.config.layout import Layout, score_file
from mrsearch.files import last_lines, read_json
from mrsearch.planning.needs import HUB_DIMENSIONS, WIKI_PASSAGES
from mrsearch.rehearsal.study import rehearsed_method
from mrsearch.retrieval.service.environment import server_python
from mrsearch.runlog import RUN_FILE
from mrsearch.training.start_up import StartUp

POLL_SECONDS = 0.02
LOG_LINES = 15
"""Lines of a failed command's log that its link repeats."""
TIMED_SEARCHES = 256
ROWS_WITHOUT_GPU = 20_000
"""Random vectors that the exact search is tried on without a GPU."""


class LinkFailed(Exception):
    """Why a link of the chain does not hold."""


@dataclass
class Rehearsal:
    """One rehearsal in its folder, and what it has measured so far."""

    run: Run
    study: Study
    python: Path
    """Runs trainings: of this environment or of verl's."""
    measured: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layout = Layout(self.run, self.study)
        self.model, self.method = next(iter(self.study.models)), rehearsed_method(self.study)
        self.seed = self.study.seeds[0]
        self.logs = self.layout.logs

    def links(self) -> Iterator[tuple[str, Any]]:
        """Every link's name and what tries it, in the order in which they depend on each other."""
        yield "environment", self.environment
        yield "data and model", self.data
        yield "index", self.index
        if self._served:
            yield "retriever", self.retriever
        if "torch" in self.study.gpu_indexes():
            yield "exact search", self.exact_search
        yield "meta-episodes", self.meta_episodes
        if self.study.methods[self.method].train:
            yield "training and checkpoint", self.training
            yield "resume and export", self.resume
            yield "evaluation", self.evaluation
        yield "report", self.report

    def environment(self) -> str:
        """Imports of the training's environment, and its GPUs where it should have some."""
        verl = self.study.methods[self.method].train is not None and self.study.trained_by_verl(self.method)
        modules = ["torch", "transformers", *(["ray", "verl"] if verl else [])]
        code = (
            f"import json, {', '.join(modules)}; print(json.dumps({{'gpus': torch.cuda.device_count(), "
            "'versions': {m.__name__: getattr(m, '__version__', '') for m in (" + ", ".join(modules) + ",)}}))"
        )
        facts = json.loads(self._command("environment", [str(self.python), "-c", code]).splitlines()[-1])
        gpus = self.study.resources.train.gpus if verl else 0
        if facts["gpus"] < gpus:
            raise LinkFailed(f"resources.train.gpus is {gpus} and {self.python} sees {facts['gpus']} GPUs")
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        return f"{versions}; {facts['gpus']} GPUs"

    def data(self) -> str:
        """Questions, passages and the model of random weights."""
        self.layout.study.parent.mkdir(parents=True, exist_ok=True)
        write_study(self.study, self.layout.study)
        for dataset in ("train", *self.study.benchmarks):
            self._mrsearch("data questions", "--dataset", dataset, "--out", self.layout.questions(dataset))
        self._mrsearch("data corpus", "--out", self.layout.corpus)
        began, base = time.monotonic(), self.layout.base(self.model)
        self._mrsearch("model base", "--model", self.model, "--corpus", self.layout.corpus, "--out", base)
        size = sum(file.stat().st_size for file in base.rglob("*") if file.is_file())
        return f"{self.model}: {size / 1e9:.2f} GB in {time.monotonic() - began:.0f} s"

    def index(self) -> str:
        """The index of every retriever in use."""
        began = time.monotonic()
        for retriever in self.study.indexed():
            options = ["--corpus", self.layout.corpus, "--out", self.layout.index(retriever)]
            self._mrsearch("index build", "--retriever", retriever, *options)
        return f"{', '.join(self.study.indexed())} in {time.monotonic() - began:.0f} s"

    def retriever(self) -> str:
        """The server answers as the index in this process does; how many searches a second it answers."""
        from mrsearch.rehearsal.searches import compare_and_time
        from mrsearch.retrieval.service import lifetime

        began, layout = time.monotonic(), self.layout
        lifetime.start(
            self.study, layout.corpus, layout.indexes, self.endpoint, holder=os.getpid(), python=self._server_python()
        )
        up = time.monotonic() - began
        answers, rate = compare_and_time(self.study, self.layout, self.endpoint, TIMED_SEARCHES)
        self.measured["searches_per_second"] = rate
        return f"up in {up:.0f} s; {answers} answers equal to the index's own; {rate:,.0f} searches/s"

    def exact_search(self) -> str:
        """Random vectors, as many as a real study has where there is a GPU: ranked as in float64, and how fast."""
        sizes = [WIKI_PASSAGES, self.study.retrieval.topk, HUB_DIMENSIONS, ROWS_WITHOUT_GPU]
        python = self._server_python() or Path(sys.executable)
        command = [str(python), "-m", "mrsearch.rehearsal.search_rate", *map(str, sizes)]
        facts = json.loads(self._command("exact-search", command).splitlines()[-1])
        if not facts["right"]:
            raise LinkFailed(f"the exact search over {facts['rows']:,} rows on {facts['device']} is not float64's")
        self.measured |= {"exact_rows": facts["rows"], "exact_searches_per_second": facts["rates"]["64"]}
        rates = ", ".join(f"{rate:,.0f}/s for {count} at once" for count, rate in facts["rates"].items())
        return f"{facts['rows']:,} random vectors on {facts['device']}, as in float64: {rates}"

    def meta_episodes(self) -> str:
        """The untrained policy on every question, with the study's generator."""
        return self._evaluate(self.layout.base(self.model), self.untrained, "untrained")

    def training(self) -> str:
        """The first steps, a request to stop, a checkpoint."""
        command = self._train_command()
        log = self.logs / "training.log"
        with log.open("w") as output:
            began = time.monotonic()
            process = subprocess.Popen(command, stdout=output, stderr=output, env=_environment())
            try:
                first = self._first_row(process, log)
                started = time.monotonic() - began
                process.send_signal(signal.SIGUSR2)
                status = process.wait()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if status != STOPPED:
            raise LinkFailed(
                f"asked to stop, the training ended with status {status}, not {STOPPED}:\n{last_lines(log, LOG_LINES)}"
            )
        self.measured["training_start_seconds"] = started - first["seconds"]
        phases = StartUp(self._run_folder).described()
        message = f"first step after {started:.0f} s{f' ({phases})' if phases else ''}, of which it took"
        return f"{message} {first['seconds']:.1f} s; stopped with a checkpoint"

    def resume(self) -> str:
        """The training goes on from the checkpoint to its end; the exported weights are those that were trained."""
        self._command("resume", self._train_command())
        rows = self._rows()
        steps = [row["step"] for row in rows]
        if steps != list(range(self.study.training.steps)):
            raise LinkFailed(f"steps {steps} stand in the training log, not 0 to {self.study.training.steps - 1}")
        seconds, tokens = rows[-1]["seconds"], self._tokens(rows[-1])
        self.measured |= {"step_seconds": seconds, "training_tokens_per_second": tokens / seconds}
        if not (self.trained / "config.json").is_file():
            raise LinkFailed(f"{self.trained}: no model was exported")
        return f"step {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s; exported"

    def evaluation(self) -> str:
        """The trained policy on every question."""
        return self._evaluate(self.trained, self.layout.records(self.model, self.method, self.seed), "trained")

    def report(self) -> str:
        """Metrics and tables from the scores."""
        if self.study.methods[self.method].train is None:
            records = self.layout.records(self.model, self.method, self.seed)
            records.parent.mkdir(parents=True, exist_ok=True)
            self.untrained.rename(records)
        scores, metrics = self.layout.scores, self.layout.metrics
        options = ["--records", self.layout.evaluations, "--scores", scores, "--out", metrics]
        self._mrsearch("report metrics", *options)
        self._mrsearch("report tables", "--metrics", metrics, "--out", self.layout.tables)
        return f"tables in {self.layout.tables}"

    def end(self) -> None:
        """Nothing stays behind; a job that is cancelled has seconds for this."""
        from mrsearch.retrieval.service import lifetime

        if self._served:
            lifetime.stop(self.endpoint)

    @property
    def _served(self) -> bool:
        return self.study.has_server(self.study.retrieval.use)

    def _server_python(self) -> Path | None:
        """Runs the retriever; None is this process's."""
        paths = self.run.paths
        server = Path(paths.retriever_environment) if paths.retriever_environment else None
        return server_python(self.study, Path(paths.gpu_environment), server, "local", Path(self.run.site))

    @property
    def result(self) -> Path:
        """What was measured; beside the rehearsal's folder, which each rehearsal makes anew."""
        return self.layout.root.with_name(f"{self.layout.root.name}.json")

    @property
    def endpoint(self) -> Path:
        return self.layout.endpoint(self.study.retrieval.use)

    @property
    def untrained(self) -> Path:
        """Records of the untrained policy."""
        return self.layout.root / "untrained"

    @property
    def trained(self) -> Path:
        """Folder of the exported model."""
        return self.layout.model(self.model, self.method, self.seed)

    def _evaluate(self, policy: Path, out: Path, name: str) -> str:
        questions = self.layout.questions("train").parent
        names = ["--model", self.model, "--method", self.method, "--seed", self.seed]
        options = ["--policy", policy, "--questions", questions, *self._search_options()]
        began = time.monotonic()
        cache = self.layout.cache(self.model, self.method, self.seed)
        self._mrsearch("evaluate", *names, *options, "--out", out, "--cache", cache)
        total = time.monotonic() - began
        generated, seconds, count = _generated(self.study, out)
        self.measured[f"{name}_tokens_per_second"] = generated / seconds
        return f"{count} questions in {seconds:.0f} s ({total:.0f} s with start); {generated / seconds:,.0f} tokens/s"

    def _search_options(self) -> list[Any]:
        endpoint = ["--endpoint", self.endpoint] if self._served else []
        return ["--corpus", self.layout.corpus, "--indexes", self.layout.indexes, *endpoint]

    def _train_command(self) -> list[str]:
        arguments = {
            "study": self.layout.study,
            "model": self.model,
            "method": self.method,
            "seed": self.seed,
            "start": self.layout.base(self.model),
            "questions": self.layout.questions("train"),
            "out": self.trained,
            "log": self.layout.train_log(self.model, self.method, self.seed),
            "run": self.layout.training_record(self.model, self.method, self.seed),
            "run-dir": self._run_folder,
        }
        options = [f"--{key}={value}" for key, value in arguments.items()]
        return [str(self.python), "-m", "mrsearch.cli", "train", *options, *map(str, self._search_options())]

    @property
    def _run_folder(self) -> Path:
        return self.layout.scratch(self.model, self.method, self.seed)

    def _first_row(self, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
        while not (rows := self._rows()):
            if process.poll() is not None:
                raise LinkFailed(f"the training ended with status {process.returncode}:\n{last_lines(log, LOG_LINES)}")
            time.sleep(POLL_SECONDS)
        return rows[0]

    def _rows(self) -> list[dict[str, Any]]:
        from mrsearch.training.log import TrainingLog
        from mrsearch.training.outlook import Budget

        return TrainingLog(self._run_folder, "rehearsal", Budget(self.study.training.steps)).rows()

    def _tokens(self, row: dict[str, Any]) -> float:
        training = self.study.training
        return float(row["length"]) * training.train_batch_size * training.group_size

    def _mrsearch(self, command: str, *arguments: Any) -> None:
        words = [*_cli(), *command.split(), "--study", self.layout.study, *arguments]
        self._command(command.replace(" ", "-"), [str(word) for word in words])

    def _command(self, name: str, command: Sequence[str]) -> str:
        """What a command prints; LinkFailed with the end of its log where it fails."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with log.open("w") as errors:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment())
        if done.returncode:
            raise LinkFailed(
                f"`{' '.join(command[:6])} ...` ended with status {done.returncode}:\n{last_lines(log, LOG_LINES)}"
            )
        return done.stdout


def _generated(study: Study, out: Path) -> tuple[int, float, int]:
    """Tokens that the policy generated in an evaluation, the seconds it took to answer, and the questions."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    run = read_json(out / RUN_FILE)
    assert run is not None, out
    seconds = sum(run["timing"]["parts"].values())
    generated = count = 0
    for benchmark in study.benchmarks:
        scores = pq.read_table(score_file(out, benchmark, study.report.decoding), columns=["generated_tokens"])
        tokens = pc.sum(pc.list_flatten(scores["generated_tokens"])).as_py() or 0
        generated, count = generated + int(tokens), count + scores.num_rows
    if not generated:
        raise LinkFailed(f"{out}: no token was generated")
    return generated, max(seconds, 1e-9), count


def _cli() -> list[str]:
    return [sys.executable, "-m", "mrsearch.cli"]


def _environment() -> dict[str, str]:
    return os.environ | {"WANDB_MODE": os.environ.get("WANDB_MODE", "offline"), "HF_HUB_OFFLINE": "1"}
