"""What a public project has beside its code says the same as the code."""

from __future__ import annotations

import re
import tomllib

import yaml
from support.commands import mrsearch
from support.project import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_command_says_its_version() -> None:
    version = mrsearch("--version", cwd=ROOT)
    assert version == (0, f"mrsearch {PROJECT['version']}\n", ""), "install the project anew"


def test_the_licence_is_the_one_that_the_package_names() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text and "limitations under the License." in text
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"


def test_citation_and_changelog_are_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] and citation["cff-version"] == "1.2.0"
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == "Unreleased" and versions[1] == PROJECT["version"]


def test_a_commit_is_checked_by_what_make_lint_checks() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local" and [hook["entry"] for hook in repository["hooks"]] == ["make lint"]


def test_the_catalog_says_how_to_install_the_package_first() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert "must be installed" in usage["mandatory-flags"]["desc"]
    (command,) = re.findall(r"`(envs/install\.sh [^&]+) &&", usage["mandatory-flags"]["desc"])
    assert (ROOT / command.split()[0]).is_file() and command.split()[1] == ".venv"
    assert (ROOT / usage["mandatory-flags"]["flags"].split()[1]).is_dir()
