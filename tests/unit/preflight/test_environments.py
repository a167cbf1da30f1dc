"""Environments are opened, and what their stages import is imported there; what a node lacks is said."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest
import yaml

from mrsearch.config import Run, Study, load_study
from mrsearch.config.site import Site, load_site
from mrsearch.preflight import gpus
from mrsearch.preflight.findings import Findings
from mrsearch.preflight.interpreters import interpreters
from mrsearch.preflight.opened import _facts, opened

GPU_MODULES = ("torch", "transformers", "tensordict", "verl", "ray", "transfer_queue", "vllm", "mrsearch", "sglang")


def program(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Machine:
    """A PATH and an environment for GPUs of the test's own; both are real programs and modules, most of them empty."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.bin, self.environment = folder, folder / "bin", folder / "gpu env"
        self.modules = folder / "modules"
        self.modules.mkdir()
        for name in GPU_MODULES:
            self.module(name, "")
        self.module("torch", "class version: cuda = '13.0'")
        start = f'PYTHONPATH="{self.modules}" exec "{sys.executable}" "$@"'
        program(self.environment / "bin" / "python", start)
        program(self.bin / "gcc", "exit 0")
        monkeypatch.setenv("PATH", str(self.bin))
        for name in ("CC", "CUDA_HOME", "CUDA_PATH"):
            monkeypatch.delenv(name, raising=False)

    def module(self, name: str, source: str) -> None:
        (self.modules / f"{name}.py").write_text(source)

    def smi(self, *lines: str, status: int = 0) -> None:
        program(self.bin / "nvidia-smi", "/bin/cat <<END", *lines, "END", f"exit {status}")

    def nvcc(self, release: str) -> None:
        program(self.bin / "nvcc", f"echo 'Cuda compilation tools, release {release}, V{release}.48'")


def opened_again() -> None:
    """As another process would."""
    _facts.cache_clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def asked(root: Path, machine: Machine, study: str = "paper", **overrides: object) -> tuple[Run, Study]:
    run = Run.model_validate(
        {"study": study, "overrides": overrides, "paths": {"gpu_environment": str(machine.environment)}}
    )
    return run, load_study(run, root)


def site_of(folder: Path, **keys: object) -> Site:
    partition = {"cores": 64, "mem_mb": 900_000, "gpus": 8, "gpu_mem_mb": 80_000}
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({"account": None, "partition": "gpu", "partitions": {"gpu": partition}} | keys))
    return load_site(path)


def found(run: Run, study: Study, site: Site | None = None) -> Findings:
    return Findings.of(opened(run, study, site))


def test_an_environment_that_imports_everything_is_no_problem(root: Path, machine: Machine) -> None:
    assert found(*asked(root, machine)) == Findings([], [])


def test_this_environment_is_opened_for_the_demo(root: Path) -> None:
    study = load_study(Run(), root)
    (here,) = interpreters(Run(), study, None)
    assert here.python == Path(sys.executable) and {"torch", "faiss", "pyarrow"} <= set(here.users)
    assert found(Run(), study) == Findings([], [])


def test_what_cannot_be_imported_is_named_with_who_needs_it(root: Path, machine: Machine) -> None:
    machine.module("vllm", "raise ImportError('undefined symbol: cuGetErrorString')")
    machine.module("ray", "import no_such_thing")
    said = found(*asked(root, machine)).problems
    assert len(said) == 2
    assert "methods.search_r1 imports ray, which paths.gpu_environment" in said[0] and "no_such_thing" in said[0]
    assert "vllm" in said[1] and "undefined symbol" in said[1] and "make gpu-env" in said[1]


def test_an_evaluation_alone_needs_its_generator_alone(root: Path, machine: Machine) -> None:
    for name in ("verl", "ray", "tensordict"):
        machine.module(name, "raise ImportError")
    methods = {"rag": {"procedure": "rag"}}
    run, study = asked(root, machine, methods=methods, **{"report.baseline": "rag"})
    assert found(run, study) == Findings([], [])
    machine.module("vllm", "raise ImportError('broken')")
    opened_again()
    (said,) = found(run, study).problems
    assert said.startswith("evaluate imports vllm")


def test_a_missing_driver_is_no_broken_environment(root: Path, machine: Machine) -> None:
    machine.module("vllm", "raise ImportError('libcuda.so.1: cannot open shared object file')")
    run, study = asked(root, machine)
    assert not found(run, study).problems
    assert "without a GPU's driver" in found(run, study).unchecked[0]
    machine.smi("NVIDIA H100 80GB HBM3, 81559, 580.65.06")
    assert "libcuda.so.1" in found(run, study).problems[0]


@pytest.mark.parametrize("lost", ["no such folder", "no interpreter"])
def test_what_is_no_environment_is_named_with_what_makes_it(root: Path, machine: Machine, lost: str) -> None:
    python = machine.environment / "bin" / "python"
    python.unlink() if lost == "no such folder" else python.write_text("#!/no/such/interpreter\n")
    (said,) = found(*asked(root, machine)).problems
    assert ("make gpu-env" in said) if lost == "no such folder" else ("cannot be started" in said)


def test_imports_that_do_not_end_are_not_waited_for(
    root: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.module("vllm", "import time; time.sleep(600)")
    monkeypatch.setattr("mrsearch.preflight.opened.IMPORT_SECONDS", 1)
    said = found(*asked(root, machine))
    assert not said.problems and any("did not end within 1 s" in line for line in said.unchecked)


def test_sglang_needs_ninja_and_the_nvcc_of_its_cuda(root: Path, machine: Machine) -> None:
    run, study = asked(root, machine, **{"training.verl.rollout": "sglang"})
    ninja, nvcc = found(run, study).problems
    assert "lacks ninja" in ninja and "nvcc 13" in nvcc and "CUDA_HOME" in nvcc
    program(machine.environment / "bin" / "ninja", "exit 0")
    machine.nvcc("12.8")
    opened_again()
    (old,) = found(run, study).problems
    assert "the one that is found is of 12.8" in old
    machine.nvcc("13.0")
    opened_again()
    assert found(run, study) == Findings([], [])
    assert found(*asked(root, machine)) == Findings([], []), "vLLM compiles no CUDA source"


def test_triton_needs_a_compiler_which_a_sites_modules_may_bring(root: Path, machine: Machine) -> None:
    (machine.bin / "gcc").unlink()
    run, study = asked(root, machine)
    (said,) = found(run, study).problems
    assert "lacks a C compiler (gcc)" in said
    with_modules = found(run, study, site_of(machine.folder, modules=["gcc/13"]))
    assert not with_modules.problems and "modules" in with_modules.unchecked[0]


def test_a_container_takes_the_environments_place(root: Path, machine: Machine) -> None:
    site = site_of(machine.folder, container="image.sif")
    run, study = asked(root, machine)
    assert found(run, study, site).unchecked == [
        "container (image.sif) was not opened: apptainer is not on this machine"
    ]
    # apptainer exec --nv --pwd FOLDER image.sif python ...
    program(machine.bin / "apptainer", "shift 6", f'PYTHONPATH="{machine.modules}" exec "{sys.executable}" "$@"')
    assert found(run, study, site) == Findings([], [])
    machine.module("verl", "raise ModuleNotFoundError('No module named verl')")
    opened_again()
    (said,) = found(run, study, site).problems
    assert "imports verl, which container (image.sif) cannot" in said


def here(study: Study, cuda: str | None = "13.0") -> Findings:
    return Findings.of(gpus.on_this_machine(study, cuda))


def test_a_machine_without_a_driver_cannot_run_a_study_that_asks_for_gpus(root: Path, machine: Machine) -> None:
    study = asked(root, machine)[1]
    (said,) = here(study).problems
    assert "resources.train.gpus 8" in said and "nvidia-smi is not found" in said
    machine.smi("couldn't communicate with the NVIDIA driver", status=9)
    (said,) = here(study).problems
    assert "couldn't communicate" in said
    assert here(load_study(Run(), root)) == Findings([], []), "the demo asks for none"


def test_driver_number_and_memory_of_this_machines_gpus(root: Path, machine: Machine) -> None:
    study = asked(root, machine)[1]
    machine.smi(*["NVIDIA H100 80GB HBM3, 81559, 580.65.06"] * 8)
    assert here(study) == Findings([], [])
    machine.smi(*["NVIDIA H100 80GB HBM3, 81559, 550.54.15"] * 8)
    (said,) = here(study).problems
    assert said.startswith("driver 550.54.15 is older than the 580 that CUDA 13.0 needs") and "container" in said
    assert not here(study, "12.8").problems
    machine.smi("NVIDIA L40S, 46068, 580.65.06")
    said = "\n".join(here(study).problems)
    assert "resources.train.gpus (8) is more than this machine has (1)" in said
    assert "train will need" in said and "logits 10.0 GB" in said and "NVIDIA L40S has" in said


def test_a_server_that_its_share_cannot_hold_is_named_with_its_keys_and_values(root: Path, machine: Machine) -> None:
    study = asked(root, machine)[1]
    said = "\n".join(gpus.misfits(study, ["evaluate"], 15e9, "a card has"))
    assert "keys and values of one meta-episode 0.5 GB" in said and "weights 15.2 GB" in said
    assert not list(gpus.misfits(study, ["evaluate"], 24e9, "a card has"))


def test_a_login_node_says_what_it_cannot_check_and_how_to(root: Path, machine: Machine) -> None:
    study = asked(root, machine)[1]
    said = Findings.of(gpus.elsewhere(study, site_of(machine.folder), "13.0"))
    assert not said.problems
    driver, system = said.unchecked
    assert "CUDA 13.0 needs 580 or newer" in driver and "srun --partition=gpu" in driver
    assert "glibc" in system
    assert not list(gpus.elsewhere(load_study(Run(), root), site_of(machine.folder), "13.0"))


def test_an_old_c_library_is_named_before_the_environment_is_made(
    root: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = asked(root, machine)[1]
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.28"))
    assert not list(gpus.libc(study, machine.environment)), "what starts here has a library that is new enough"
    (said,) = gpus.libc(study, Path("no/such"))
    assert "glibc 2.28 is older than the 2.34" in said
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.34"))
    assert not list(gpus.libc(study, Path("no/such")))


def test_the_locks_cuda_is_read_from_it() -> None:
    assert gpus.locked_cuda() == "13.0"
    assert set(gpus.OLDEST_DRIVER) >= {gpus.locked_cuda().split(".")[0]}
