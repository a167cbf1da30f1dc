"""Programs that tests need from Debian: installed where root may install them, otherwise the test is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

START_POLICY = Path("/usr/sbin/policy-rc.d")


class Unavailable(RuntimeError):
    """A program that is neither there nor installable here."""


def install(programs: tuple[str, ...], packages: tuple[str, ...]) -> None:
    """Install `packages` if one of `programs` is missing, without starting any daemon; Unavailable where that fails."""
    with FileLock(Path(tempfile.gettempdir()) / "debian packages of tests.lock"):
        missing = [program for program in programs if shutil.which(program) is None]
        if missing:
            _install(missing, packages)


def _install(missing: list[str], packages: tuple[str, ...]) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(missing)} not found, and only root can install Debian's {' '.join(packages)}")
    made = not START_POLICY.exists()
    if made:
        START_POLICY.write_text("#!/bin/sh\nexit 101\n")
        START_POLICY.chmod(0o755)
    try:
        options = ["-y", "-qq", "--no-install-recommends", *packages]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "install", *options], ["apt-get", "update"], ["apt-get", "install", *options]):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
            if command[1] == "install" and done.returncode == 0:
                return
    finally:
        if made:
            START_POLICY.unlink()
    raise Unavailable(f"apt-get could not install {' '.join(packages)}: {done.stderr.strip()[-500:]}")


def need(program: str, *packages: str) -> str:
    """The program's path, installing `packages` if need be; without it the test is skipped, and fails under CI."""
    try:
        install((program,), packages)
    except Unavailable as error:
        pytest.skip(str(error))
    path = shutil.which(program)
    assert path is not None
    return path
