"""What would stop a run later, found before anything is submitted: one list of all problems."""

from __future__ import annotations

from pathlib import Path

from mrsearch.config import ConfigError, Run, Study
from mrsearch.config.site import load_site
from mrsearch.preflight import machine
from mrsearch.preflight import site as cluster


def preflight(run: Run, study: Study) -> list[str]:
    """Every problem that can be seen from here, one sentence each; empty if the run can start."""
    problems = [*machine.folders(run, study), *machine.tracking(), *machine.versions()]
    if run.scheduler != "slurm":
        return [*problems, *machine.port(study), *machine.this_machine(study)]
    try:
        site = load_site(Path(run.site))
    except ConfigError as error:
        return [*str(error).splitlines(), *problems]
    reachable = machine.reachable(study, site)
    problems += machine.interpreter()
    return [*cluster.fits(study, site), *problems, *reachable, *cluster.programs(site), *cluster.partitions(site)]
