"""Where a study's numbers come from, in one line."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mrsearch.config import Study
from mrsearch.config.data import FolderData, HubData, WorldData
from mrsearch.data import registry


def describe(study: Study) -> str:
    """The data that the study reads and the revision of the code, for the foot of every table."""
    return f"{_data(study)}, code {code_revision()}"


def code_revision() -> str:
    """Short git revision of this package's checkout, with "+changes" where tracked files differ; else "unversioned"."""
    folder = Path(__file__).resolve().parent
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return "unversioned"
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/src", ":/rules")
    return head + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _data(study: Study) -> str:
    data = study.data
    if isinstance(data, WorldData):
        return f"synthetic world of seed {data.seed}"
    if isinstance(data, FolderData):
        count = data.questions_per_benchmark
        asked = f"first {count} questions" if count else "all questions"
        kept = f"{data.passages} passages" if data.passages else "all passages"
        return f"folder {Path(data.path).name}, {asked} of each {data.questions}, {kept}"
    assert isinstance(data, HubData)
    corpus = registry.row(data.corpus, "corpus")
    return f"corpus {corpus.name} ({_place(corpus)}), questions {_splits(study)}"


def _splits(study: Study) -> str:
    """Every benchmark with its split, those of one repository and revision together."""
    by_place: dict[str, list[str]] = {}
    for name, benchmark in study.benchmarks.items():
        row = registry.questions_row(study, name)
        by_place.setdefault(_place(row), []).append(f"{benchmark.label or name} {row.split}")
    return "; ".join(f"{', '.join(found)} ({place})" for place, found in by_place.items())


def _place(row: registry.Row) -> str:
    return f"{row.repository} at {row.revision[:12] if row.revision else registry.BRANCH + ', not pinned'}"
