"""Environments as envs/ has them: what a lock holds, and for which Pythons and platforms it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.project import ROOT

ENVS = ROOT / "envs"
GLIBC_OF_WHEELS = "2_28"
"""glibc that a Linux must have where a platform names none: that of PyTorch's wheels."""


@dataclass(frozen=True)
class Environment:
    """One `envs/NAME.in` with its header and its lock."""

    name: str
    pythons: tuple[str, ...]
    platforms: tuple[str, ...]
    source: tuple[str, ...] = ()
    """Packages that have no wheel, only source that builds anywhere."""
    separate_torch: bool = False
    without_dependencies: bool = False
    requirements: tuple[Requirement, ...] = ()
    pins: dict[str, Requirement] = field(default_factory=dict)
    """Locked requirements by canonical name."""
    hashes: dict[str, set[str]] = field(default_factory=dict)

    @property
    def universal(self) -> bool:
        """Whether one lock serves several Pythons and platforms."""
        return len(self.pythons) > 1


def read_lock(name: str) -> tuple[dict[str, Requirement], dict[str, set[str]]]:
    """Pins and hashes of `envs/NAME.lock.txt`, by canonical name."""
    pins: dict[str, Requirement] = {}
    hashes: dict[str, set[str]] = {}
    text = (ENVS / f"{name}.lock.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line.split(" --hash=")[0])
        package = canonicalize_name(requirement.name)
        assert package not in pins, f"{name}: {package} is locked twice"
        pins[package] = requirement
        hashes[package] = set(re.findall(r"--hash=(\S+)", line))
    return pins, hashes


def read_environment(name: str) -> Environment:
    """The environment `envs/NAME.in`."""
    lines = (ENVS / f"{name}.in").read_text(encoding="utf-8").splitlines()
    header = dict(re.findall(r"^# (Python|Platforms|Source|Torch): (.*)$", "\n".join(lines), re.MULTILINE))
    pins, hashes = read_lock(name)
    return Environment(
        name=name,
        pythons=tuple(header["Python"].split()),
        platforms=tuple(header["Platforms"].split()),
        source=tuple(header.get("Source", "").split()),
        separate_torch=header.get("Torch") == "separately",
        without_dependencies="# Without dependencies" in lines,
        requirements=tuple(Requirement(line) for line in lines if line and not line.startswith("#")),
        pins=pins,
        hashes=hashes,
    )


def environments() -> list[Environment]:
    """All environments, by name."""
    return [read_environment(path.stem) for path in sorted(ENVS.glob("*.in"))]


def uv_platform(platform: str) -> str:
    """The platform as `uv pip compile --python-platform` calls it."""
    system, machine, *glibc = platform.split("-")
    if system == "macos":
        return f"{'aarch64' if machine == 'arm64' else machine}-apple-darwin"
    return f"{machine}-manylinux_{glibc[1].replace('.', '_') if glibc else GLIBC_OF_WHEELS}"


def markers_of(python: str, platform: str) -> dict[str, str]:
    """Environment in which a marker of a lock is evaluated."""
    system, machine, *_ = platform.split("-")
    darwin = system == "macos"
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "darwin" if darwin else "linux",
        "platform_system": "Darwin" if darwin else "Linux",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }


def applies(pin: Requirement, python: str, platform: str) -> bool:
    """Whether a locked package is installed there."""
    return pin.marker is None or pin.marker.evaluate(markers_of(python, platform))
