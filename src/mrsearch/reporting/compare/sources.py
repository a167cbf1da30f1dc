"""What is compared: the results of studies, from their folders or from bundles."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from mrsearch.config import Study, read_study
from mrsearch.config.layout import StudyFolder
from mrsearch.files import read_json
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.unpacking import check_tables, unpack

COMPARED = ["em_final", "f1_final"]
KEY = ["model", "method", "seed", "decoding", "benchmark", "question_id"]


@dataclass(frozen=True)
class Source:
    """The results of one study."""

    label: str
    """How tables call it: the study's name, numbered where several share it."""
    address: str
    """What the user named."""
    study: Study
    folder: StudyFolder
    scores: pd.DataFrame
    """Every question's EM and F1, by KEY."""
    origin: str
    """Data and code revision behind the numbers."""

    def inputs(self) -> dict[str, str]:
        """sha256 of questions, passages and indexes by name, as the evaluations noted them; ValueError where one of
        them was evaluated on other files than another."""
        hashes: dict[str, str] = {}
        for model in self.study.models:
            for method in self.study.methods:
                for seed in self.study.seeds:
                    path = self.folder.evaluation_record(model, method, seed)
                    record = read_json(path)
                    inputs = record.get("inputs") if isinstance(record, dict) else None
                    if not isinstance(inputs, dict):
                        raise ValueError(f"{path}: missing, so nothing says which questions were asked: run it again")
                    for name, entry in inputs.items():
                        if name != "policy" and hashes.setdefault(name, entry["sha256"]) != entry["sha256"]:
                            raise ValueError(
                                f"{path}: was evaluated on another {name} than other methods: run it again"
                            )
        return hashes


@contextlib.contextmanager
def opened(addresses: Sequence[str], results: Path) -> Iterator[list[Source]]:
    """The sources of studies by name below `results`, of folders of results and of bundles, in this order.

    Bundles are unpacked to a folder that goes at the end. ValueError names what is missing or stands there twice.
    """
    with contextlib.ExitStack() as stack:
        folders = [_folder(address, results, stack) for address in addresses]
        for index, folder in enumerate(folders):
            if folder.root.resolve() in [earlier.root.resolve() for earlier in folders[:index]]:
                raise ValueError(f"{addresses[index]}: is there twice: name another run")
        studies = [read_study(folder.study) for folder in folders]
        names = [study.name for study in studies]
        labels = [
            f"{name} ({names[: index + 1].count(name)})" if names.count(name) > 1 else name
            for index, name in enumerate(names)
        ]
        yield list(map(_source, labels, addresses, folders, studies))


def _folder(address: str, results: Path, stack: contextlib.ExitStack) -> StudyFolder:
    path = Path(address)
    if path.is_file():
        target = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root = unpack(path, target / "bundle")
        check_tables(root)
    else:
        root = path if (path / StudyFolder(path).study.name).is_file() else results / address
    folder = StudyFolder(root)
    for required in (folder.study, folder.metrics, folder.scores):
        if not required.is_file():
            where = address if path.is_file() else str(root)
            raise ValueError(
                f"{where}: holds no {required.name}: name a study that ran to its end, its folder of results, or a "
                "bundle that this version made of it"
            )
    return folder


def _source(label: str, address: str, folder: StudyFolder, study: Study) -> Source:
    scores = pq.read_table(folder.scores, columns=[*KEY, *COMPARED]).to_pandas()
    return Source(label, address, study, folder, scores, Metrics(study, folder.metrics).origin)
