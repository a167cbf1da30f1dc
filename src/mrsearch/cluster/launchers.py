"""Which launcher a run uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mrsearch.cluster.jobs import Launcher, ManagedLauncher
from mrsearch.cluster.local import LocalLauncher, LocalTaskLauncher
from mrsearch.config.resources import Resources
from mrsearch.config.site import load_site

if TYPE_CHECKING:
    from mrsearch.cluster.slurm import SlurmLauncher


def service_launcher(scheduler: str, site: Path, stage: str, resources: Resources) -> Launcher:
    """For a server, which others end. ConfigError names what the site file lacks."""
    return _slurm(site, stage, resources, graceful=False) if scheduler == "slurm" else LocalLauncher()


def managed_launcher(scheduler: str, site: Path, stage: str, resources: Resources) -> ManagedLauncher:
    """For a command that ends by itself. ConfigError names what the site file lacks."""
    return _slurm(site, stage, resources, graceful=True) if scheduler == "slurm" else LocalTaskLauncher()


def launcher_of(job_id: str) -> Launcher:
    """Who can be asked about a job that somebody submitted: ids of processes hold a start time, Slurm's do not."""
    if "-" in job_id:
        return LocalLauncher()
    from mrsearch.cluster.slurm import SlurmLauncher

    return SlurmLauncher()


def _slurm(site: Path, stage: str, resources: Resources, graceful: bool) -> SlurmLauncher:
    from mrsearch.cluster.slurm import SlurmLauncher

    return SlurmLauncher(load_site(site), stage, resources, graceful)
