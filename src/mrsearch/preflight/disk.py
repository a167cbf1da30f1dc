"""Room and permission on disk for what a study will write."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mrsearch.config import Run, Study
from mrsearch.config.layout import Layout
from mrsearch.planning import needs


def folders(run: Run, study: Study) -> Iterator[str]:
    """Write permission and room for what is not there yet; folders on one disk share its room."""
    items: dict[int, dict[str, float]] = {}
    homes: dict[int, Path] = {}
    layout = Layout(run, study)
    sizes = {run.paths.results: needs.results_items(study), run.paths.resources: needs.resources_items(study)}
    for name, totals in sizes.items():
        size = {item: max(0.0, total - _bytes(_homes(layout, study, item))) for item, total in totals.items()}
        folder = existing(Path(name))
        try:
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield f"{folder}: cannot be written: {error.strerror}"
        disk = folder.stat().st_dev
        items[disk] = items.get(disk, {}) | size
        homes.setdefault(disk, folder)
    for disk, size in items.items():
        free, total = shutil.disk_usage(homes[disk]).free, sum(size.values())
        if total > free:
            listed = ", ".join(f"{name} {item_bytes / needs.GIB:.1f}" for name, item_bytes in sorted(size.items()))
            yield (
                f"{homes[disk]}: the study will write up to {total / needs.GIB:.1f} GiB ({listed}), "
                f"{free / needs.GIB:.1f} GiB are free: make room, or set paths.results and paths.resources"
            )


def _homes(layout: Layout, study: Study, item: str) -> list[Path]:
    """Where an item of the estimates lies once it has been made."""
    kind, _, name = item.rpartition(" ")
    return {
        "checkpoints of": [layout.scratch(name, method, seed) for method in study.methods for seed in study.seeds],
        "trained models of": [layout.models / name],
        "model": [layout.base(name)] if kind == "model" else [],
        "": [layout.corpus] if name == "passages" else [layout.indexes],
    }[kind]


def _bytes(folders: list[Path]) -> int:
    """Size of the files below these folders; a file that goes meanwhile counts nothing."""
    total = 0
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += (Path(root) / name).stat().st_blocks * 512
    return total


def existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path
