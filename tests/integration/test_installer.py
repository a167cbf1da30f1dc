"""What envs/install.sh asks of pip and uv, and when make calls it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.locks import ENVS, environments
from support.project import ROOT

pytestmark = pytest.mark.integration


def install(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": "", "TORCH_PIP_ARGS": "", "FLASH_ATTN": "", **variables}
    command = [str(ENVS / "install.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_installer_names_the_environments_that_there_are(tmp_path: Path) -> None:
    run = install(str(tmp_path / "venv"), "nowhere")
    assert run.returncode == 1 and run.stderr.startswith("No environment nowhere: envs/ has ")
    assert {environment.name for environment in environments()} == set(run.stderr.split(" has ")[1].split())


def test_the_installer_says_which_pythons_would_do(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)
    run = install(str(tmp_path / "venv"), "cpu", PYTHON=str(old))
    assert run.returncode == 1 and not (tmp_path / "venv").exists()
    assert f"(3.11 3.12 3.13): {old} has 3.9" in run.stderr and "PYTHON=/path/to/python3.11" in run.stderr


STANDS_IN = """#!/bin/sh
case "$*" in
  *version_info*) echo 3.12; exit;;
  *torch-cpu.lock.txt*) [ -z "$CPU_BUILD" ] && { echo "no such build" >&2; exit 1; };;
esac
echo "$*" >> "$CALLS"
"""
"""A Python that notes what it is asked to install."""


def installed(tmp_path: Path, uv: str = "exit 1", uv_of: str = "tools", **variables: str) -> tuple[list[str], str]:
    """The commands that install something, in order, and what the installer says; nothing is installed."""
    venv, calls, tools = tmp_path / "venv", tmp_path / "calls", tmp_path / "tools"
    programs = {venv / "bin" / "python": STANDS_IN, tmp_path / uv_of / "uv": f"#!/bin/sh\n{uv}\n"}
    programs[tools / "uname"] = f"#!/bin/sh\necho {variables['SYSTEM']}\n"
    for path, text in programs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    run = install(str(venv), "cpu", CALLS=str(calls), PATH=f"{tools}:/usr/bin:/bin", **variables)
    assert run.returncode == 0 and (venv / "installed").exists()
    return [line for line in calls.read_text().splitlines() if " install " in line], run.stderr


def locks_of(commands: list[str]) -> list[str]:
    return re.findall(r"envs/([\w-]+)\.lock\.txt", "\n".join(commands))


@pytest.mark.parametrize(("argument", "lines"), [("", 4), ("--extra-index-url nowhere", 5)])
def test_the_index_has_torch_where_the_cpu_build_is_not_found(tmp_path: Path, argument: str, lines: int) -> None:
    """One line says what that costs; why the build was not found is said where the user had said where it is."""
    commands, said = installed(tmp_path, SYSTEM="Linux", CPU_BUILD="", TORCH_PIP_ARGS=argument)
    assert locks_of(commands) == ["build", "torch", "cpu"]
    assert "4 GB more disk" in said and len(said.splitlines()) == lines and ("no such build" in said) == bool(argument)


@pytest.mark.parametrize(("system", "torch"), [("Linux", "torch-cpu"), ("Darwin", "torch")])
def test_the_build_of_torch_without_cuda_is_the_first_choice(tmp_path: Path, system: str, torch: str) -> None:
    """On a Mac the package index's own build is one."""
    commands, said = installed(tmp_path, SYSTEM=system, CPU_BUILD="yes")
    assert locks_of(commands) == ["build", torch, "cpu"] and "more disk" not in said
    assert all("--require-hashes" in command and "--no-deps" in command for command in commands[:-1])
    assert said.count("uv cannot install here") == 1


@pytest.mark.parametrize("folder", ["tools", "venv/bin"])
def test_uv_of_the_path_or_of_the_environment_installs_and_compiles(tmp_path: Path, folder: str) -> None:
    commands, _ = installed(tmp_path, uv='echo "uv $*" >> "$CALLS"', uv_of=folder, SYSTEM="Darwin", CPU_BUILD="")
    assert locks_of(commands) == ["build", "torch", "cpu"]
    assert all(command.startswith("uv pip install") and "--compile-bytecode" in command for command in commands)


def test_make_installs_nothing_that_the_installer_has_installed(tmp_path: Path) -> None:
    (tmp_path / "envs").symlink_to(ENVS)
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for environment, name in ((".venv", ""), (".venv-gpu", "gpu"), (".venv-train", "train-cpu")):
        command = ["make", "--no-print-directory", "--just-print", f"{environment}/installed"]
        assert subprocess.check_output(command, cwd=tmp_path, env=plain, text=True).split() == [
            *("envs/install.sh", environment),
            *([name] if name else []),
        ]
        (tmp_path / environment).mkdir()
        (tmp_path / environment / "installed").touch()
        assert "up to date" in subprocess.check_output(command, cwd=tmp_path, env=plain, text=True)
