"""What a site sets up, as the shell of a rule runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mrsearch.cluster.resources import JobResources
from mrsearch.config import Run, load_study

pytestmark = pytest.mark.integration
SITE = {"account": "lab", "partition": "cpu", "partitions": {"cpu": {"cores": 32, "mem_mb": 100000}}}


@pytest.mark.parametrize(
    ("setup", "command", "said"),
    [
        ('export B="${HOME:-none}/c"  # braces and a remark', 'printf %s "$B"', f"{os.environ.get('HOME', 'none')}/c"),
        ("export B=$(echo 1 2 | awk '{print $2}')", "printf %s $B", "2"),
        ("false", "printf went on", None),
        ("true", "false | true; printf went on", None),
        ("true", 'printf "$UNSET_NAME"; printf went on', None),
    ],
)
def test_setup_lines_mean_to_rules_what_they_mean_to_a_shell(
    root: Path, tmp_path: Path, setup: str, command: str, said: str | None
) -> None:
    site = tmp_path / "setup.yaml"
    site.write_text(yaml.safe_dump(SITE | {"setup": [setup]}))
    prefix = JobResources(Run(scheduler="slurm", site=str(site)), load_study(Run(), root)).prefix
    code = "import sys; from snakemake.shell import shell; shell.prefix(sys.argv[1]); shell(sys.argv[2])"
    done = subprocess.run([sys.executable, "-c", code, prefix, command], capture_output=True, text=True)
    assert (done.stdout if done.returncode == 0 else None) == said, done.stderr
