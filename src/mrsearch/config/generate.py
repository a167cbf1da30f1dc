"""Files written from the models: the commented config.yaml, the JSON schemas and the key tables of the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from mrsearch.config.load import load_run
from mrsearch.config.run import Run
from mrsearch.config.site import Site
from mrsearch.config.source import ConfigError, read_yaml
from mrsearch.config.study_file import StudyFile, partial
from mrsearch.config.tables import key_tables

CONFIG = Path("config/config.yaml")
README = Path("config/README.md")
SCHEMAS = Path("workflow/schemas")
BEGIN, END = "<!-- keys: begin (written by `make config`) -->", "<!-- keys: end -->"


def generated_files(root: Path = Path()) -> dict[Path, str]:
    """Path and wanted text of every generated file below `root`. Values that the user put into config.yaml stay."""
    run_schema, study_schema, site_schema = schema(Run, "run"), schema(StudyFile, "study"), schema(Site, "site")
    return {
        root / SCHEMAS / "run.schema.json": _json(run_schema),
        root / SCHEMAS / "study.schema.json": _json(partial(study_schema)),
        root / SCHEMAS / "site.schema.json": _json(site_schema),
        root / CONFIG: config_yaml(_current(root / CONFIG)),
        root / README: _with_tables(root / README, *map(key_tables, (run_schema, study_schema, site_schema))),
    }


def schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    """JSON schema (2020-12) of a model; unknown keys are refused at every level."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | model.model_json_schema() | {"title": title}


def config_yaml(run: Run) -> str:
    """The run's keys as YAML, each under its description, so that editors can complete and explain them."""
    head = [
        f"# yaml-language-server: $schema=../{SCHEMAS}/run.schema.json",
        "# Which study to run, and where its files go. Every key can be given on the command line as well:",
        "#   snakemake --config study=real-smoke seeds=[1,2]",
    ]
    return "\n".join(head + _commented(run, "")) + "\n"


def _commented(model: BaseModel, indent: str) -> list[str]:
    lines = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        lines += [f"{indent}# {line}" for line in (field.description or "").splitlines()]
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:", *_commented(value, indent + "  ")]
        else:
            plain = json.loads(json.dumps(value))
            style = isinstance(plain, (dict, list))
            lines.append(
                f"{indent}{name}: " + yaml.safe_dump(plain, default_flow_style=style).removesuffix("...\n").strip()
            )
    return lines


def _current(path: Path) -> Run:
    return load_run(read_yaml(path)) if path.is_file() else Run()


def _with_tables(path: Path, run: str, study: str, site: str) -> str:
    text = path.read_text(encoding="utf-8")
    before, begin, behind = text.partition(BEGIN)
    _, end, after = behind.partition(END)
    if not (begin and end):
        raise ConfigError(f"{path}: lacks the marks {BEGIN!r} and {END!r} between which the key tables stand")
    tables = (
        f"## The run: `config/config.yaml`\n\n{run}\n\n## A study: `config/studies/<study>.yaml`\n\n{study}\n\n"
        f"## A cluster: `config/site.yaml`\n\n{site}"
    )
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
