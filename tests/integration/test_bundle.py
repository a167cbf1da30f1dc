"""A study as one archive: complete, repeatable, and refused where a byte changed."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrsearch.cli import app
from mrsearch.config import Study, write_study
from mrsearch.config.run import Paths
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.reporting.bundle import verify_bundle, write_bundle
from mrsearch.reporting.figures.writer import write_figures
from mrsearch.reporting.tables.compute import write_compute
from mrsearch.reporting.tables.writer import write_tables

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made(
    small_study: Study,
    make_records: Callable[..., Path],
    make_train_logs: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of results of a made-up study that has run, with a few bytes in place of its inputs."""
    results = tmp_path_factory.mktemp("made") / "results"
    raw = small_study.model_dump(mode="json") | {"seeds": [0]}
    raw["evaluation"]["decoding"] = {"greedy": {}}
    raw["methods"].pop("direct")
    study = Study.model_validate(raw)
    root = results / "small"
    make_records(study, root / "eval", 3)
    make_train_logs(study, root / "models")
    inputs = [f"data/{name}.parquet" for name in ("train", *study.benchmarks)]
    inputs += ["corpus/passages", "index/dense/index.json", "models/tiny/base/model.safetensors"]
    inputs += [f"models/tiny/{method}/seed0/model/model.safetensors" for method in study.methods]
    for name in inputs:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    write_study(study, root / "study.json")
    write_metrics(study, root / "eval", root / "scores.parquet", root / "metrics.parquet")
    write_tables(study, root / "metrics.parquet", root / "tables")
    write_compute(study, root, root / "tables")
    write_figures(study, root / "metrics.parquet", root / "models", root / "figures")
    return results


@pytest.fixture
def ran(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(made, tmp_path / "results"))


def bundled(results: Path, root: Path, name: str = "a.tar.gz") -> Path:
    out = results.parent / name
    write_bundle("small", Paths(results=str(results), resources=str(results / "resources")), root, out)
    return out


def changed(bundle: Path, name: str, content: bytes | None) -> Path:
    """A copy of the archive in which one file holds other bytes, or is missing."""
    copy = bundle.with_name("changed.tar.gz")
    with tarfile.open(bundle) as old, tarfile.open(copy, "w:gz") as new:
        for entry in old:
            held = old.extractfile(entry).read()
            if entry.name == f"small/{name}":
                if content is None:
                    continue
                held = content
                entry.size = len(held)
            new.addfile(entry, io.BytesIO(held))
    return copy


def test_a_bundle_is_complete_repeatable_and_verified(ran: Path, root: Path) -> None:
    bundle = bundled(ran, root)
    assert bundle.read_bytes() == bundled(ran, root, "b.tar.gz").read_bytes()
    with tarfile.open(bundle) as archive:
        names = {name.removeprefix("small/") for name in archive.getnames()}
        manifest = json.load(archive.extractfile("small/bundle.json"))
    wanted = {
        "study.json",
        "metrics.parquet",
        "commands.txt",
        "envs/cpu.lock.txt",
        "tables/main.csv",
        "figures/pareto.pdf",
    }
    assert wanted | {"models/tiny/mr_search/seed0/train.jsonl", "tables/compute.md"} <= names
    assert set(manifest["files"]) | {"bundle.json"} == names
    assert len(manifest["inputs"]) == 4 + 1 + 1 + 1 + 3
    assert all(len(value) == 64 for value in manifest["inputs"].values())
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert (done.exit_code, "byte for byte" in done.stdout) == (0, True), done.output


def test_every_difference_is_named(ran: Path, root: Path) -> None:
    tables = ran / "small" / "tables"
    (tables / "main.csv").write_text("other\n")
    (tables / "extra.md").unlink()
    (tables / "more.csv").write_text("more\n")
    bundle = bundled(ran, root)
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "tables/extra.md: made again, not in the bundle",
        "tables/main.csv: differs",
        "tables/more.csv: in the bundle, not made again",
    ]
    other = changed(bundle, "study.json", b"{}")
    assert verify_bundle(other) == ["study.json: is not the file that was archived"]
    lost = changed(bundle, "figures/pareto.pdf", None)
    assert verify_bundle(lost) == ["figures/pareto.pdf: listed in bundle.json, not in the bundle"]


def test_a_study_that_did_not_run_is_refused(ran: Path, root: Path, tmp_path: Path) -> None:
    for folder in ("tables", "figures"):
        for path in (ran / "small" / folder).iterdir():
            path.unlink()
    with pytest.raises(ValueError, match="tables: missing: run the study 'small' to its end first"):
        bundled(ran, root)
    with pytest.raises(ValueError, match=r"holds no study.json"):
        write_bundle("nope", Paths(results=str(ran)), root, tmp_path / "x.tar.gz")
    (tmp_path / "x.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        verify_bundle(tmp_path / "x.tar.gz")
