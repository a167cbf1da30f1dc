"""Generated files say what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mrsearch.config import ConfigError, Run, Study, load_run
from mrsearch.config.generate import BEGIN, END, config_yaml, generated_files, schema


def test_generated_files_are_up_to_date(root: Path) -> None:
    for path, text in generated_files(root).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is out of date: run `make config`"


def test_config_yaml_keeps_the_users_values_under_fresh_comments() -> None:
    run = load_run({"study": "paper", "seeds": [1, 2], "overrides": {"training.steps": 5}})
    text = config_yaml(run)
    assert load_run(yaml.safe_load(text)) == run
    assert "# Training seeds to use in place of the study's own." in text


def test_every_key_of_every_model_is_described() -> None:
    for model in (Run, Study):
        described = schema(model, "x")
        for part in [described, *described["$defs"].values()]:
            for key, value in part["properties"].items():
                assert value.get("description"), f"{part['title']}.{key} has no docstring"
            assert part["additionalProperties"] is False


def test_a_readme_without_the_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "README.md").write_text(f"{BEGIN}\nno end\n")
    with pytest.raises(ConfigError, match="lacks the marks"):
        generated_files(tmp_path)
    (tmp_path / "config" / "README.md").write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    text = generated_files(tmp_path)[tmp_path / "config" / "README.md"]
    assert text.startswith(f"before\n{BEGIN}\n\n## The run")
    assert text.endswith(f"{END}\nafter\n")
    assert "| `steps` | integer, > 0 | `300` | Most training steps. |" in text
