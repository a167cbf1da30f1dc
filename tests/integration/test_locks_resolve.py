"""Every promised Python and platform can install its locks: asked of the package index, nothing is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.locks import ENVS, Environment, applies, environments, read_lock, uv_platform

pytestmark = pytest.mark.integration

ALL = environments()
PROMISED = [(each, python, platform) for each in ALL for python in each.pythons for platform in each.platforms]
OVERRIDES = {"train-sglang": "train-sglang-override.txt", "vllm-cpu": "vllm-cpu-override.txt"}
"""Where verl and sglang ask for what excludes each other, and vLLM for what serving text does not need."""
MACOS = "14.0"
"""Oldest macOS that PyTorch has wheels for."""
UNREACHABLE = ("Failed to fetch", "dns error", "error sending request", "timed out")


def compiled(pins: list[Requirement], *options: str, override: str | None = None) -> tuple[int, str]:
    """Exit code of uv's resolver and what it says: the resolved packages, or why there are none."""
    uv = Path(sys.executable).parent / "uv"
    command = [
        str(uv),
        "pip",
        "compile",
        "--quiet",
        "--python",
        sys.executable,
        "--no-header",
        "--no-annotate",
        *options,
    ]
    if override:
        command += ["--override", str(ENVS / override)]
    run = subprocess.run(
        [*command, "-"],
        input="\n".join(map(str, pins)),
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if run.returncode and any(sign in run.stderr for sign in UNREACHABLE):
        pytest.skip("the package index cannot be reached")
    return run.returncode, run.stdout if run.returncode == 0 else run.stderr


def names(text: str) -> dict[str, str]:
    """Versions by canonical name, of the lines of a resolution."""
    lines = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(each.name): str(each.specifier) for each in lines}


def complete(environment: Environment) -> dict[str, Requirement]:
    """All that is installed with a lock."""
    torch = read_lock("torch")[0] if environment.separate_torch else {}
    return {**torch, **environment.pins}


def left_out(environment: Environment) -> set[str]:
    """Packages that an environment's override takes out of the resolution, by a marker that is true nowhere."""
    if environment.name not in OVERRIDES:
        return set()
    lines = (ENVS / OVERRIDES[environment.name]).read_text(encoding="utf-8").splitlines()
    overrides = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name) for each in overrides if each.marker and not each.marker.evaluate()}


@pytest.mark.parametrize(
    ("environment", "python", "platform"),
    PROMISED,
    ids=[f"{each.name}-{python}-{where}" for each, python, where in PROMISED],
)
def test_a_lock_has_wheels_and_everything_that_its_packages_require(
    environment: Environment, python: str, platform: str
) -> None:
    """Resolving exactly the locked packages adds none: each Requires-Dist is satisfied within the lock."""
    pins = [pin for pin in complete(environment).values() if applies(pin, python, platform)]
    options = ["--python-version", python, "--python-platform", uv_platform(platform), "--only-binary", ":all:"]
    options += [word for package in environment.source for word in ("--no-binary", package)]
    options += ["--no-deps"] if environment.without_dependencies else []
    code, said = compiled(pins, *options, override=OVERRIDES.get(environment.name))
    assert code == 0, said
    away = left_out(environment)
    assert names(said) == {
        canonicalize_name(pin.name): str(pin.specifier) for pin in pins if canonicalize_name(pin.name) not in away
    }


def test_a_package_without_a_wheel_is_noticed() -> None:
    code, said = compiled([Requirement("connection-pool==0.0.3")], "--only-binary", ":all:")
    assert code != 0 and "connection-pool" in said


def test_a_missing_requirement_is_noticed() -> None:
    code, said = compiled([Requirement("jinja2==3.1.6")], "--only-binary", ":all:")
    assert code == 0 and "markupsafe" in names(said)


@pytest.mark.parametrize("environment", ALL, ids=lambda environment: environment.name)
def test_the_index_still_has_the_hashes_of_a_lock(environment: Environment) -> None:
    where = ["--universal", "--python-version", environment.pythons[0]]
    if not environment.universal:
        where = ["--python-version", environment.pythons[0], "--python-platform", uv_platform(environment.platforms[0])]
    code, said = compiled(list(environment.pins.values()), *where, "--no-deps", "--generate-hashes")
    assert code == 0, said
    blocks = [block.split() for block in said.replace("\\\n", " ").splitlines()]
    index = {canonicalize_name(words[0].split("==")[0]): {word for word in words if "hash" in word} for words in blocks}
    gone = {
        name for name, hashes in environment.hashes.items() if not {f"--hash={each}" for each in hashes} <= index[name]
    }
    assert gone == set()
