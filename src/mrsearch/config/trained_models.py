"""Models that a study of this project trained: the protocol that they bring with them, which a folder of weights alone
does not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mrsearch.config.models import FolderModel, LanguageModel
from mrsearch.config.presets import merged
from mrsearch.config.protocol import Protocol
from mrsearch.files import read_json

RUN_FILE = "run.json"


def with_trained_protocol(raw: dict[str, Any]) -> dict[str, Any]:
    """A study's mapping with the protocol of its trained models, where it gives no `protocol.preset`; keys that it
    gives stay.

    ValueError names models that were trained under different protocols, and a recorded protocol that cannot be read.
    """
    overrides = raw.get("protocol") or {}
    if not isinstance(overrides, dict) or "preset" in overrides:
        return raw
    protocols = {name: merged(_recorded(name, *record), overrides) for name, record in _records(raw).items()}
    if not protocols:
        return raw
    first, protocol = next(iter(protocols.items()))
    for name in protocols:
        if keys := _differing_values(protocol, protocols[name]):
            raise ValueError(
                f"models.{first} and models.{name} were trained under different protocols ({', '.join(keys)}): give "
                "these keys, or protocol.preset and all that differs from it"
            )
    return {**raw, "protocol": protocol}


def mismatches(models: Mapping[str, LanguageModel], protocol: Protocol) -> Iterator[str]:
    """A sentence for each model whose recorded training had another protocol than the study."""
    for name, model in models.items():
        record = training_record(Path(model.path)) if isinstance(model, FolderModel) else None
        if record is not None and (keys := differing(record[1], protocol)):
            yield (
                f"models.{name}.path ({record[0]}): was trained under another protocol: {', '.join(keys)} differ, and "
                "the study's count; leave them out to take those of the training"
            )


def training_record(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The run record of the training that made a folder, which lies in or beside it, and the protocol in it."""
    for path in (folder / RUN_FILE, folder.parent / RUN_FILE):
        record = read_json(path)
        if not isinstance(record, dict) or record.get("stage") == "evaluate":
            continue
        outputs, config = record.get("outputs"), record.get("config")
        entries = outputs.values() if isinstance(outputs, dict) else ()
        folders = [entry.get("path") for entry in entries if isinstance(entry, dict)]
        protocol = config.get("protocol") if isinstance(config, dict) else None
        if isinstance(protocol, dict) and (path.parent == folder or folder.name in folders):
            return path, protocol
    return None


def differing(recorded: dict[str, Any], protocol: Protocol) -> list[str]:
    """The keys in which a recorded protocol differs; whatever files its texts came from, the texts count."""
    try:
        return _differing_values(_values(protocol), _values(Protocol.model_validate(recorded)))
    except ValueError:  # of another version: its keys are compared as they stand
        current = protocol.model_dump(mode="json", include=set(recorded))
        return _differing_values(current, recorded)


def _values(protocol: Protocol) -> dict[str, Any]:
    return {name: getattr(protocol, name) for name in Protocol.model_fields if name != "wording"}


def _differing_values(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return [f"protocol.{key}" for key in sorted(first.keys() | second.keys()) if first.get(key) != second.get(key)]


def _records(raw: dict[str, Any]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The training records of a study's models, by their names; what is no usable model is for validation to refuse."""
    models = raw.get("models")
    records = {}
    for name, model in models.items() if isinstance(models, dict) else ():
        path = model.get("path") if isinstance(model, dict) and model.get("kind") == "folder" else None
        if isinstance(path, str) and "\0" not in path and (record := training_record(Path(path))):
            records[str(name)] = record
    return records


def _recorded(name: str, path: Path, protocol: dict[str, Any]) -> dict[str, Any]:
    """A recorded protocol, whole. The files of its wording stay behind: its texts are there already, and which files
    are read is for the study to say."""
    try:
        values = Protocol.model_validate(protocol).model_dump(mode="json", exclude={"wording"})
    except ValueError as error:
        raise ValueError(
            f"models.{name}.path: the protocol in {path} cannot be used ({' '.join(str(error).split()):.200}): give "
            "the study's own with protocol.preset"
        ) from error
    return values
