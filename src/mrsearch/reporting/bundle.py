"""One archive from which a study's tables and figures can be made again, and the check that they come out the same."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from mrsearch.config import Run, Study, read_study
from mrsearch.config.layout import Layout, StudyFolder
from mrsearch.config.run import Paths
from mrsearch.files import atomic_file
from mrsearch.reporting.contents import COMPUTE
from mrsearch.reporting.unpacking import check_tables, read_manifest, unpack
from mrsearch.runlog import code_revision, content_hash, hash_path

MANIFEST = "bundle.json"
COMMANDS = "commands.txt"
PACKAGES = ("matplotlib", "numpy", "pandas", "pyarrow")
"""Packages whose version can change the bytes of tables and figures."""


def write_bundle(name: str, paths: Paths, project: Path, out: Path) -> None:
    """Archive what the study `name` made below `paths.results`; the same results give the same bytes.

    It holds the resolved study, lock files, metrics, scores, training logs, run.json files, tables, figures and
    commands. Questions, passages, indexes and models stand in bundle.json with their hashes; an index by its manifest,
    which holds the hash of each of its files. ValueError names what is not there yet.
    """
    folder = StudyFolder(Path(paths.results) / name)
    root = folder.root
    if not folder.study.is_file():
        raise ValueError(f"{root}: holds no {folder.study.name}: run the study {name!r} first, or name its --results")
    study = read_study(folder.study)
    archived = _archived(study, folder)
    for required in (folder.metrics, *_folders(folder)):
        if not any(path.is_relative_to(required) for path in archived):
            raise ValueError(f"{required}: missing: run the study {name!r} to its end first")
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in archived}
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
    with atomic_file(out) as draft:
        draft.write_bytes(_packed(study.name, files))


def verify_bundle(bundle: Path) -> list[str]:
    """Make tables and figures again from the archived numbers; one sentence for every file that differs.

    The archive may come from anybody: nothing of it is run, and nothing is written but to a folder that goes at the
    end. ValueError where it is no bundle, or holds what no bundle does.
    """
    with tempfile.TemporaryDirectory() as temporary:
        root = unpack(bundle, Path(temporary) / "bundle")
        try:
            manifest = read_manifest(root / MANIFEST)
            paths = _damaged(root, manifest["files"])
            if paths:
                return paths
            check_tables(root)
            paths = _made_again(root, Path(temporary) / "again")
        except ValueError as error:
            raise ValueError(f"{bundle}: {error}") from error
        if paths:
            paths += _other_packages(manifest["packages"])
        return paths


def _made_again(root: Path, again: Path) -> list[str]:
    """Differences between the archived tables and figures and those made of the archived numbers."""
    original, remade = StudyFolder(root), StudyFolder(again)
    try:
        _make(read_study(original.study), original, remade)
    except Exception as error:  # numbers of anybody, which may not fit the study beside them
        raise ValueError(f"its tables and figures cannot be made: {type(error).__name__}: {error}") from error
    pairs = zip(_folders(original), _folders(remade), strict=True)
    return [difference for archived, folder_ in pairs for difference in _differences(archived, folder_)]


def _folders(folder: StudyFolder) -> tuple[Path, Path]:
    """Folders that are made again and compared."""
    return folder.tables, folder.figures


def _archived(study: Study, folder: StudyFolder) -> list[Path]:
    paths = {
        folder.study,
        folder.metrics,
        folder.scores,
        folder.retrieval_report("csv"),
        *folder.timings.rglob("*.tsv"),
    }
    paths |= {path for folder_ in _folders(folder) for path in folder_.glob("*")}
    for names in itertools.product(study.models, study.methods, study.seeds):
        paths |= {folder.evaluation_record(*names), folder.train_log(*names), folder.training_record(*names)}
    return sorted(path for path in paths if path.is_file() and not path.name.startswith("."))


def _inputs(study: Study, layout: Layout) -> dict[str, str]:
    """sha256 of questions, passages, index manifests and models, by where they lie."""
    trained = [name for name, method in study.methods.items() if method.train]
    paths = [layout.questions(name) for name in (*study.benchmarks, *(["train"] if trained else []))]
    paths += [layout.corpus, *(layout.index(retriever) / "index.json" for retriever in study.indexed())]
    for model in study.models:
        paths.append(layout.base(model))
        paths += [layout.model(model, method, seed) for method in trained for seed in study.seeds]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise ValueError(f"{missing[0]}: missing ({len(missing)} of {len(paths)} inputs): run the study again first")
    return {path.as_posix(): content_hash(path) for path in paths}


def _commands(revision: str) -> str:
    bundle = StudyFolder(Path("BUNDLE"))
    return (
        f"# In a checkout of mrsearch at {revision}, with this archive unpacked as BUNDLE.\n"
        "# The environment:\n"
        "envs/install.sh .venv && . .venv/bin/activate\n"
        "# The whole study:\n"
        f"snakemake --profile profile/local --config study={bundle.study}\n"
        "# Tables and figures from the archived numbers:\n"
        f"mrsearch report tables --study {bundle.study} --metrics {bundle.metrics} --out tables\n"
        f"mrsearch report compute --study {bundle.study} --results {bundle.root} --out tables\n"
        f"mrsearch report figures --study {bundle.study} --metrics {bundle.metrics} --models {bundle.models}"
        " --out figures\n"
        "# Where the study compares retrievers:\n"
        f"mrsearch report retrieval --study {bundle.study} --quality {bundle.retrieval_report('csv')} --out figures\n"
    )


def _make(study: Study, archived: StudyFolder, out: StudyFolder) -> None:
    from mrsearch.reporting.figures.retrieval import retrieval_quality
    from mrsearch.reporting.figures.writer import write_figures
    from mrsearch.reporting.tables.compute import write_compute
    from mrsearch.reporting.tables.writer import write_tables

    write_tables(study, archived.metrics, out.tables)
    if (archived.tables / f"{COMPUTE}.csv").is_file():
        write_compute(study, archived.root, out.tables)
    write_figures(study, archived.metrics, archived.models, out.figures)
    if (quality := archived.retrieval_report("csv")).is_file():
        retrieval_quality(study, quality, out.figures)


def _differences(archived: Path, again: Path) -> list[str]:
    names = sorted({path.name for folder in (archived, again) for path in folder.glob("*")})
    paths = []
    for name in names:
        original, remade = archived / name, again / name
        if not remade.is_file():
            paths.append(f"{archived.name}/{name}: in the bundle, not made again")
        elif not original.is_file():
            paths.append(f"{archived.name}/{name}: made again, not in the bundle")
        elif original.read_bytes() != remade.read_bytes():
            paths.append(f"{archived.name}/{name}: differs")
    return paths


def _damaged(root: Path, expected: dict[str, str]) -> list[str]:
    """What is missing, foreign or altered among the archived files."""
    present = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {MANIFEST}
    paths = [f"{name}: listed in {MANIFEST}, not in the bundle" for name in sorted(set(expected) - present)]
    paths += [f"{name}: in the bundle, not listed in {MANIFEST}" for name in sorted(present - set(expected))]
    altered = [name for name in sorted(present & set(expected)) if hash_path(root / name) != expected[name]]
    return paths + [f"{name}: is not the file that was archived" for name in altered]


def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def _other_packages(archived: dict[str, str]) -> list[str]:
    remade = _packages()
    return [
        f"made with {name} {version}, here is {remade.get(name)}: install the archived lock files"
        for name, version in archived.items()
        if remade.get(name) != version
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
