"""A study and what lies in its folder of results: scores, records, questions, and its agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.agent.questions import read_questions
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.config.layout import STUDY_FILE, Layout, record_file
from mrsearch.config.load import read_study
from mrsearch.config.run import Paths, Run
from mrsearch.config.source import STUDIES
from mrsearch.config.study import Study
from mrsearch.interactive.choice import AgentChoice, require_file

if TYPE_CHECKING:
    import pandas as pd

    from mrsearch.interactive.open_agent import OpenAgent


class LoadedStudy:
    """A study with its files. Arguments that are None stand for the study's first: model, seed, decoding."""

    def __init__(self, study: Study, layout: Layout) -> None:
        self.study = study
        """The resolved configuration."""
        self.layout = layout
        """Where its files lie."""

    def scores(self) -> pd.DataFrame:
        """A row per model, method, seed, decoding, benchmark and question, as docs/records.md describes them.

        ValueError where the study has not been scored yet.
        """
        return self._parquet(self.layout.scores, "scores")

    def metrics(self) -> pd.DataFrame:
        """A row per estimate: what the tables show, with intervals. ValueError where there are none yet."""
        return self._parquet(self.layout.metrics, "metrics")

    def questions(self, benchmark: str) -> list[Question]:
        """The questions of a benchmark, or of "train", with their gold answers; ValueError where there are none."""
        path = self.layout.questions(benchmark)
        require_file(self.study, path, f"questions of {benchmark}")
        return read_questions(path)

    def records(
        self,
        method: str,
        benchmark: str,
        *,
        model: str | None = None,
        seed: int | None = None,
        decoding: str | None = None,
    ) -> Iterator[MetaEpisode]:
        """The recorded meta-episodes of one evaluation, ordered by sha1 of the questions' ids.

        ValueError for what the study does not have, or where that evaluation has not run yet.
        """
        choice = AgentChoice.of(self.study, method, model, seed, decoding)
        if benchmark not in self.study.benchmarks:
            names = ", ".join(self.study.benchmarks)
            raise ValueError(f"study {self.study.name} has no benchmark {benchmark!r}: it has {names}")
        path = record_file(self.layout.records(choice.model, method, choice.seed), benchmark, choice.decoding)
        require_file(self.study, path, "records")
        from mrsearch.agent.record_files import read_records

        return read_records(path)

    def open_agent(
        self,
        method: str,
        *,
        model: str | None = None,
        seed: int | None = None,
        decoding: str | None = None,
        gpu_environment: str | Path = ".venv-gpu",
        retriever_environment: str | Path | None = None,
    ) -> OpenAgent:
        """An agent that answers questions, to be closed after use; `with` does it.

        The environments are those of a retrieval server with GPUs. Errors as of `OpenAgent`.
        """
        from mrsearch.interactive.open_agent import OpenAgent
        from mrsearch.interactive.retriever import ServerEnvironments

        choice = AgentChoice.of(self.study, method, model, seed, decoding)
        retriever = None if retriever_environment is None else Path(retriever_environment)
        return OpenAgent(self.study, self.layout, choice, ServerEnvironments(Path(gpu_environment), retriever))

    def _parquet(self, path: Path, name: str) -> pd.DataFrame:
        import pandas as pd

        require_file(self.study, path, name)
        return pd.read_parquet(path)


def load_study(
    study: str | Path = "demo",
    *,
    root: str | Path = ".",
    results: str | Path = "results",
    resources: str | Path = "results/resources",
) -> LoadedStudy:
    """A study with what lies in its folder of results.

    study: a shipped study's name, that of a folder in `results`, or a file. Where `results` holds the study as it ran,
    overrides and seeds applied, that is what is loaded. root: the project's folder, at which the other paths start.
    ConfigError where the study cannot be used.
    """
    home = Path(root)
    paths = Paths(results=str(home / results), resources=str(home / resources))
    resolved = _resolved(study, home, Path(paths.results))
    return LoadedStudy(resolved, Layout(Run(study=str(study), paths=paths), resolved))


def _resolved(study: str | Path, home: Path, results: Path) -> Study:
    """The study as it ran, or, where it has not, as its file says."""
    if (ran := results / study / STUDY_FILE).is_file():
        return read_study(ran)
    shipped = home / STUDIES / f"{study}.yaml"
    source = shipped if shipped.is_file() else home / study
    written = read_study(source if source.is_file() else study)
    ran = results / written.name / STUDY_FILE
    return read_study(ran) if ran.is_file() else written
