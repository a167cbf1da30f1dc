"""A package as an installer leaves it, in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, source: str, points: str, version: str = "0.1.0"
) -> None:
    """Put a module and the description of its package, with entry points, into `folder` and that in front of what is
    imported; `module` is a name that no other test uses, and the package has it with hyphens."""
    name = module.replace("_", "-")
    described = folder / f"{module}-{version}.dist-info"
    described.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (described / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(folder))
