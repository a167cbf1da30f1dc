"""One archive from which a study's tables and figures can be made again, and the check that they come out the same."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from mrsearch.config import Run, Study, read_study
from mrsearch.config.layout import Layout
from mrsearch.config.run import Paths
from mrsearch.evaluation.provenance import code_revision
from mrsearch.files import atomic_file
from mrsearch.runlog import hash_path

MANIFEST = "bundle.json"
COMMANDS = "commands.txt"
QUALITY = "retrieval/quality.csv"
MADE = ("tables", "figures")
"""Folders that are made again and compared."""
ARCHIVED = (
    *("study.json", "metrics.parquet", QUALITY, "tables/*", "figures/*"),
    "benchmarks/**/*.tsv",
    "eval/**/run.json",
)
TRAINED = ("models/*/*/*/train.jsonl", "models/*/*/*/run.json")
PACKAGES = ("matplotlib", "numpy", "pandas", "pyarrow")
"""Packages whose version can change the bytes of tables and figures."""


def write_bundle(name: str, paths: Paths, project: Path, out: Path) -> None:
    """Archive what the study `name` made below `paths.results`; the same results give the same bytes.

    It holds the resolved study, lock files, metrics, training logs, run.json files, tables, figures and commands.
    Questions, passages, indexes and models stand in bundle.json with their hashes; an index by its manifest, which
    holds the hash of each of its files. ValueError names what is not there yet.
    """
    root = Path(paths.results) / name
    if not (root / "study.json").is_file():
        raise ValueError(f"{root}: holds no study.json: run the study {name!r} first, or name its --results")
    study = read_study(root / "study.json")
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in _archived(root)}
    for needed in ("metrics.parquet", *MADE):
        if not any(file.startswith(needed) for file in files):
            raise ValueError(f"{root / needed}: missing: run the study {name!r} to its end first")
    files |= {f"envs/{lock.name}": lock.read_bytes() for lock in sorted((project / "envs").glob("*.lock.txt"))}
    revision = code_revision()
    files[COMMANDS] = _commands(revision).encode()
    manifest = {
        "study": study.name,
        "code": revision,
        "packages": _packages(),
        "inputs": _inputs(study, Layout(Run(study=name, paths=paths), study)),
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in sorted(files.items())},
    }
    files[MANIFEST] = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    with atomic_file(out) as part:
        part.write_bytes(_packed(study.name, files))


def verify_bundle(bundle: Path) -> list[str]:
    """Make tables and figures again from the archived numbers; one sentence for every file that differs.

    ValueError where `bundle` is no such archive.
    """
    with tempfile.TemporaryDirectory() as temporary:
        root = _unpacked(bundle, Path(temporary) / "bundle")
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        found = _damaged(root, manifest["files"])
        if found:
            return found
        again = Path(temporary) / "again"
        _make(read_study(root / "study.json"), root, again)
        for folder in MADE:
            found += _differences(root / folder, again / folder)
        if found:
            found += _other_packages(manifest["packages"])
        return found


def _archived(root: Path) -> list[Path]:
    found = {path for pattern in (*ARCHIVED, *TRAINED) for path in root.glob(pattern)}
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def _inputs(study: Study, layout: Layout) -> dict[str, str]:
    """sha256 of questions, passages, index manifests and models, by where they lie."""
    trained = [name for name, method in study.methods.items() if method.train]
    paths = [layout.questions(name) for name in (*study.benchmarks, *(["train"] if trained else []))]
    paths += [layout.corpus, *(layout.index(retriever) / "index.json" for retriever in study.indexed())]
    for model in study.models:
        paths.append(layout.base(model))
        paths += [layout.trained(model, method, seed) / "model" for method in trained for seed in study.seeds]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise ValueError(f"{missing[0]}: missing ({len(missing)} of {len(paths)} inputs): run the study again first")
    return {path.as_posix(): hash_path(path) for path in paths}


def _commands(revision: str) -> str:
    return (
        f"# In a checkout of mrsearch at {revision}, with this archive unpacked as BUNDLE.\n"
        "# The environment:\n"
        "envs/install.sh .venv && . .venv/bin/activate\n"
        "# The whole study:\n"
        "snakemake --profile profile/local --config study=BUNDLE/study.json\n"
        "# Tables and figures from the archived numbers:\n"
        "mrsearch report tables --study BUNDLE/study.json --metrics BUNDLE/metrics.parquet --out tables\n"
        "mrsearch report compute --study BUNDLE/study.json --results BUNDLE --out tables\n"
        "mrsearch report figures --study BUNDLE/study.json --metrics BUNDLE/metrics.parquet --models BUNDLE/models"
        " --out figures\n"
        "# Where the study compares retrievers:\n"
        f"mrsearch report retrieval --study BUNDLE/study.json --quality BUNDLE/{QUALITY} --out figures\n"
    )


def _make(study: Study, root: Path, out: Path) -> None:
    from mrsearch.reporting.compute import write_compute
    from mrsearch.reporting.figures import write_figures
    from mrsearch.reporting.retrieval_figure import retrieval_quality
    from mrsearch.reporting.tables import write_tables

    write_tables(study, root / "metrics.parquet", out / "tables")
    if (root / "tables" / "compute.csv").is_file():
        write_compute(study, root, out / "tables")
    write_figures(study, root / "metrics.parquet", root / "models", out / "figures")
    if (root / QUALITY).is_file():
        retrieval_quality(study, root / QUALITY, out / "figures")


def _differences(archived: Path, again: Path) -> list[str]:
    names = sorted({path.name for folder in (archived, again) for path in folder.glob("*")})
    found = []
    for name in names:
        there, here = archived / name, again / name
        if not here.is_file():
            found.append(f"{archived.name}/{name}: in the bundle, not made again")
        elif not there.is_file():
            found.append(f"{archived.name}/{name}: made again, not in the bundle")
        elif there.read_bytes() != here.read_bytes():
            found.append(f"{archived.name}/{name}: differs")
    return found


def _damaged(root: Path, expected: dict[str, str]) -> list[str]:
    """What is missing, foreign or altered among the archived files."""
    present = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {MANIFEST}
    found = [f"{name}: listed in {MANIFEST}, not in the bundle" for name in sorted(set(expected) - present)]
    found += [f"{name}: in the bundle, not listed in {MANIFEST}" for name in sorted(present - set(expected))]
    altered = [name for name in sorted(present & set(expected)) if hash_path(root / name) != expected[name]]
    return found + [f"{name}: is not the file that was archived" for name in altered]


def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def _other_packages(archived: dict[str, str]) -> list[str]:
    here = _packages()
    return [
        f"made with {name} {version}, here is {here.get(name)}: install the archived lock files"
        for name, version in archived.items()
        if here.get(name) != version
    ]


def _packed(folder: str, files: dict[str, bytes]) -> bytes:
    """A gzipped tar without times and owners."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _unpacked(bundle: Path, target: Path) -> Path:
    """The archive's one folder, below `target`; names that leave it are refused."""
    try:
        with tarfile.open(bundle, "r:gz") as archive:
            archive.extractall(target, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{bundle}: cannot be unpacked: {error}") from error
    found = list(target.glob(f"*/{MANIFEST}"))
    if len(found) != 1:
        raise ValueError(f"{bundle}: holds no {MANIFEST}: it was not made by `mrsearch bundle`")
    return found[0].parent
