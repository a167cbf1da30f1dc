"""What would stop a run later, found before anything is submitted: one list of all problems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mrsearch.config import ConfigError, Run, Study
from mrsearch.config.site import Site, load_site
from mrsearch.preflight import disk, gpus, inputs, machine, recipes
from mrsearch.preflight import site as cluster
from mrsearch.preflight.findings import Findings
from mrsearch.preflight.opened import cuda_of, opened


def preflight(run: Run, study: Study) -> Findings:
    """Every problem that can be seen from here, and what cannot be seen from here, one sentence each."""
    return Findings.of(_sentences(run, study))


def _sentences(run: Run, study: Study) -> Iterator[str]:
    if run.scheduler != "slurm":
        yield from _everywhere(run, study)
        yield from _environments(run, study, None)
        yield from machine.port(study)
        yield from machine.this_machine(study)
        return
    try:
        site = load_site(Path(run.site))
    except ConfigError as error:
        yield from str(error).splitlines()
        yield from _everywhere(run, study)
        return
    yield from cluster.fits(study, site)
    yield from _everywhere(run, study)
    yield from machine.interpreter()
    yield from machine.project_path()
    yield from _environments(run, study, site)
    yield from machine.reachable(study, site)
    yield from cluster.programs(site)
    yield from cluster.partitions(site)


def _everywhere(run: Run, study: Study) -> Iterator[str]:
    yield from disk.folders(run, study)
    yield from machine.cache()
    yield from machine.tracking()
    yield from machine.versions()
    yield from inputs.data(study)
    yield from inputs.models(study)
    yield from inputs.packages(study)


def _environments(run: Run, study: Study, site: Site | None) -> Iterator[str]:
    yield from opened(run, study, site)
    yield from recipes.overrides(run, study, site)
    contained = site is not None and site.container is not None
    if not contained:
        yield from gpus.libc(study, Path(run.paths.gpu_environment))
    cuda = cuda_of(run, study, site) or (None if contained else gpus.locked_cuda())
    yield from gpus.on_this_machine(study, cuda) if site is None else gpus.elsewhere(study, site, cuda)
