"""What a study takes from installed packages: validated, written down with its version, and in the digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.installed import install

from mrsearch.config import ConfigError, Study, load_run, load_study, stages, write_study
from mrsearch.config.installed import packages
from mrsearch.config.load import read_study

RETRIEVER = """
from pydantic import BaseModel, ConfigDict, PositiveInt
from mrsearch.retrieval.indexes.ranking import Ranking

class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    first: PositiveInt = 1

class FromHere:
    Settings = Settings
    def open(self, inputs):
        self.inputs = inputs
        return self
    def search(self, queries, topk):
        first = self.inputs.settings.first
        return [Ranking(list(range(first, first + topk)), [1.0] * topk) for query in queries]
"""
POINTS = "[mrsearch.retrievers]\nfrom_here = {module}:FromHere\n"


def installed(monkeypatch: pytest.MonkeyPatch, folder: Path, module: str, version: str) -> None:
    install(monkeypatch, folder / version, module, RETRIEVER, POINTS.format(module=module), version)


def study(**settings: Any) -> Study:
    retriever = {"kind": "from_here", **settings}
    return load_study(
        load_run({"study": "demo", "overrides": {"retrieval.retrievers.mine": retriever, "retrieval.use": "mine"}})
    )


def test_settings_are_validated_by_the_package_and_digests_change_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="'from_here' is no kind of retriever: known are dense"):
        study()
    installed(monkeypatch, tmp_path, "installed_one", "0.1.0")
    with pytest.raises(ConfigError, match=r"settings.first: Input should be greater than 0, not 0"):
        study(settings={"first": 0})
    with pytest.raises(ConfigError, match=r"settings.last: unknown key"):
        study(settings={"last": 1})
    first = study()
    mine = first.retrieval.retrievers["mine"].model_dump(mode="json")
    assert mine["settings"] == {"first": 1} and mine["package"] == "installed-one 0.1.0"
    assert packages(first.model_dump(mode="json")) == {"kind/from_here": "installed-one 0.1.0"}
    write_study(first, tmp_path / "study.json")
    assert read_study(tmp_path / "study.json") == first

    def digests(read: Study) -> tuple[str, str]:
        return stages.train(read, "tiny", "mr_search"), stages.evaluate(read, "mr_search")

    assert digests(study(settings={"first": 1})) == digests(first) != digests(study(settings={"first": 2}))
    installed(monkeypatch, tmp_path, "installed_one", "0.2.0")
    assert not set(digests(study())) & set(digests(first))
    with pytest.raises(ConfigError, match=r"that of installed-one 0\.1\.0 here, and installed-one 0\.2\.0 is"):
        read_study(tmp_path / "study.json")


def test_what_is_built_in_takes_no_settings_of_a_package() -> None:
    overrides = {"retrieval.retrievers.dense.settings": {"first": 1}}
    with pytest.raises(ConfigError, match=r"settings: unknown key"):
        load_study(load_run({"study": "demo", "overrides": overrides}))
    assert packages({"retrievers": {"a": {"kind": "dense", "settings": {"package": "x"}}}}) == {}
