"""The site file, what rules ask for, and the rendered batch script."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from support.commands import mrsearch

from mrsearch.cluster.environments import command_on_gpus, inside_container
from mrsearch.cluster.resources import JobResources
from mrsearch.cluster.slurm import SlurmLauncher
from mrsearch.config import ConfigError, Run, Study, load_study
from mrsearch.config.resources import Resources
from mrsearch.config.site import Partition, Site, load_site

GPU = {
    "cores": 64,
    "mem_mb": 500000,
    "nodes": 4,
    "gpus": 8,
    "gpu_type": "h100",
    "gpu_mem_mb": 80000,
    "max_minutes": 2880,
}
KEYS = {
    "account": "lab",
    "partition": "cpu",
    "partitions": {"cpu": {"cores": 32, "mem_mb": 100000}, "gpu": GPU},
    "stages": {"train": "gpu", "evaluate": "gpu"},
    "qos": "high",
    "sbatch": {"constraint": "ib"},
    "modules": ["cuda/12.8", "gcc"],
    "setup": ["export A=1"],
}
RESOURCES = Resources(threads=16, mem_mb=64000, runtime=600, gpus=4, nodes=2)


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(KEYS))
    return path


def lines(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    return str(caught.value).splitlines()


def test_the_shipped_file_names_what_to_fill_in(root: Path) -> None:
    said = "\n".join(lines(root / "config" / "site.yaml"))
    for key in ("account: Field required", "partition: Field required", "partitions: "):
        assert f"site.yaml: {key}" in said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert lines(tmp_path / "no.yaml") == [
        f"{tmp_path}/no.yaml: missing: it names partitions and account of the cluster (docs/cluster.md)"
    ]


def test_every_key_is_explained_in_the_docs(root: Path) -> None:
    _, _, section = (root / "docs" / "cluster.md").read_text().partition("## The site file")
    table = section.partition("\n## ")[0]
    for key in [*Site.model_fields, *Partition.model_fields]:
        assert f"`{key}`" in table, key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partition": "fast"}, "partition ('fast') is not among the partitions: known are cpu, gpu"),
        ({"stages": {"train": "fast"}}, "stages.train ('fast') is not among the partitions"),
        ({"stages": {"trian": "gpu"}}, "stages.trian is not a stage"),
        ({"partitions": {"cpu": {"cores": 1, "mem_mb": 1, "gpus": 2}}}, "gpu_mem_mb is missing: the nodes have 2 GPUs"),
        ({"acount": "x"}, "acount: unknown key"),
    ],
)
def test_wrong_entries_are_named(site_file: Path, change: dict[str, object], said: str) -> None:
    site_file.write_text(yaml.safe_dump(KEYS | change))
    assert any(said in line for line in lines(site_file))


def test_what_a_partition_cannot_run_is_listed(site_file: Path) -> None:
    site = load_site(site_file)
    assert site.misfits("train", RESOURCES) == []
    assert site.misfits("data", Resources(gpus=1, nodes=2, threads=33)) == [
        "resources.data.threads (33) is more than partitions.cpu.cores (32)",
        "resources.data.gpus (1) is more than partitions.cpu.gpus (0)",
        "resources.data.nodes (2) is more than partitions.cpu.nodes (1)",
    ]
    assert site.misfits("train", Resources(runtime=2881)) == [
        "resources.train.runtime (2881) is more than partitions.gpu.max_minutes (2880)"
    ]


def test_the_batch_script_asks_for_what_study_and_site_say(site_file: Path, tmp_path: Path) -> None:
    launcher = SlurmLauncher(load_site(site_file), "train", RESOURCES)
    script = launcher.script(["true"], "run", tmp_path / "a place" / "train.log")
    for line in (
        "#SBATCH --account=lab",
        "#SBATCH --partition=gpu",
        "#SBATCH --qos=high",
        "#SBATCH --constraint=ib",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=16",
        "#SBATCH --gres=gpu:h100:4",
        "#SBATCH --mem=64000M",
        "#SBATCH --time=600",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@120",
        "set -e",
        "module load cuda/12.8",
        "module load gcc",
        "export A=1",
    ):
        assert line in script.splitlines(), script
    assert "wckey" not in script
    (command,) = (line for line in script.splitlines() if line.startswith("srun "))
    assert " --cpus-per-task=16 " in command
    assert list(tmp_path.iterdir()) == [site_file]


def test_a_container_wraps_the_command(site_file: Path) -> None:
    site = Site.model_validate(KEYS | {"container": "image.sif"})
    wrapped = inside_container([sys.executable, "-m", "mrsearch.cli", "train"], site)
    assert wrapped[:3] == ["apptainer", "exec", "--nv"]
    assert wrapped[-5:] == ["image.sif", "python", "-m", "mrsearch.cli", "train"]
    assert inside_container(["python", "x"], load_site(site_file)) == ["python", "x"]
    command = [sys.executable, "-m", "mrsearch.cli", "train"]
    assert SlurmLauncher(site, "train", Resources(gpus=1)).command_in_job(command) == wrapped
    assert SlurmLauncher(site, "train", Resources()).command_in_job(command) == command, "no GPUs, no container"


def test_an_evaluation_on_gpus_runs_in_their_environment_or_in_the_container(tmp_path: Path, site_file: Path) -> None:
    arguments = ["-m", "mrsearch.cli", "evaluate"]
    (tmp_path / "gpu" / "bin").mkdir(parents=True)
    (tmp_path / "gpu" / "bin" / "python").touch()
    words = command_on_gpus(arguments, tmp_path / "gpu", load_site(site_file))
    assert words == [str(tmp_path / "gpu" / "bin" / "python"), *arguments]
    image = Site.model_validate(KEYS | {"container": "image.sif"})
    assert command_on_gpus(arguments, tmp_path / "absent", image)[-5:] == ["image.sif", "python", *arguments]
    with pytest.raises(ValueError, match=r"paths\.gpu_environment .* is no virtual environment.*make gpu-env"):
        command_on_gpus(arguments, tmp_path / "absent", None)


def test_rules_ask_for_partition_and_account_on_slurm_only(site_file: Path, root: Path) -> None:
    overrides = {"resources.evaluate": {"gpus": 2, "mem_mb": 9000}, "resources.train": {"threads": 8}}
    study = load_study(Run(study="demo", overrides=overrides), root)
    here = JobResources(Run(), study)
    assert here.of("evaluate") == {"mem_mb": 9000, "runtime": 60, "gpu": 2}
    assert (here.threads("train"), here.prefix, here.scheduler_options) == (8, "", ["--scheduler", "local"])
    there = JobResources(Run(scheduler="slurm", site=str(site_file)), study)
    assert there.of("evaluate") == here.of("evaluate") | {
        "slurm_partition": "gpu",
        "slurm_account": "lab",
        "qos": "high",
        "gpu_model": "h100",
        "slurm_extra": "--constraint=ib",
    }
    assert there.of("data")["slurm_partition"] == "cpu"
    assert there.threads("train") == 1
    assert there.managed("train")["cpus"] == 8
    assert (here.gpus_here("evaluate"), there.gpus_here("evaluate"), here.gpus_here("train")) == (2, 0, 0)
    assert there.scheduler_options == ["--scheduler", "slurm", "--site", str(site_file)]
    lines = ["set -e", "module load cuda/12.8", "module load gcc", "export A=1", "set -uo pipefail", ""]
    assert there.prefix == "\n".join(lines)


def test_stages_that_do_not_fit_are_refused_together(site_file: Path, root: Path) -> None:
    overrides = {"resources.train": {"gpus": 9}, "resources.index": {"mem_mb": 200000}, "training.backend": "verl"}
    study = load_study(Run(study="demo", overrides=overrides), root)
    with pytest.raises(ConfigError, match=r"(?s)resources.index.mem_mb \(200000\).*resources.train.gpus \(9\)"):
        JobResources(Run(scheduler="slurm", site=str(site_file)), study)


def test_a_dry_run_prints_script_and_study_and_makes_nothing(site_file: Path, tmp_path: Path, root: Path) -> None:
    files = ("start", "questions", "corpus", "indexes", "out", "log", "run", "run-dir")
    places = [f"--{name}={tmp_path / name}" for name in files]
    names = ["--study=demo", "--model=tiny", "--method=mr_search", "--seed=0", "--gpus=2"]
    where = ["--scheduler=slurm", f"--site={site_file}", f"--gpu-environment={sys.prefix}", "--dry-run"]
    done = mrsearch("train", *names, *places, *where, cwd=root)
    assert done.returncode == 0
    script, _, study = done.stdout.partition("\n# study\n")
    assert "#SBATCH --gres=gpu:h100:2" in script and "#SBATCH --job-name=tiny-mr_search-seed0-" in script
    assert f"# {sys.prefix}/bin/python -m mrsearch.cli train --study=demo" in script
    assert Study.model_validate_json(study).name == "demo"
    assert list(tmp_path.iterdir()) == [site_file]
