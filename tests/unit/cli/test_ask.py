"""Where `mrsearch ask` runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.commands import mrsearch

from mrsearch.config import Study, write_study


def test_an_agent_on_gpus_answers_in_their_environment(
    small_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = small_study.resources.model_copy(
        update={"evaluate": small_study.resources.evaluate.model_copy(update={"gpus": 1})}
    )
    write_study(small_study.model_copy(update={"resources": resources}), tmp_path / "study.json")
    (tmp_path / "gpu" / "bin").mkdir(parents=True)
    (tmp_path / "gpu" / "bin" / "python").touch()
    commands: list[list[str]] = []

    def become(program: str, words: list[str], variables: dict[str, str]) -> None:
        commands.append(words)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execvpe", become)
    options = ["--seed", "1", "--json", "--gpu-environment", "gpu"]
    done = mrsearch("ask", *options, "--", "study.json", "mr_search", "-why ?", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    python, *words = commands[0]
    assert Path(python) == tmp_path / "gpu" / "bin" / "python"
    assert words[:3] == ["-m", "mrsearch.cli", "ask"]
    assert {"--seed=1", "--json", "--results=results", "--retriever-environment=gpu"} <= set(words)
    assert words[-4:] == ["--", "study.json", "mr_search", "-why ?"]
    assert not any(word.startswith("--gpu-environment") for word in words), "it would go on for ever"
