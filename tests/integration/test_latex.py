"""The LaTeX tables compile with a real TeX."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.debian import need

from mrsearch.config import Study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.reporting.tables.writer import write_tables


@pytest.mark.integration
def test_latex_compiles(small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    latex = need("pdflatex", "texlive-latex-recommended")
    raw = small_study.model_dump()
    raw["methods"]["direct"]["label"] = r"50 % \& _more_ {of} $it$ #1 ~ ^ <x> 100→0 γ"
    raw["models"] = {"qwen2.5-7b": raw["models"]["tiny"]}
    raw["title"] = "Hostile & 100 %"
    study = Study.model_validate(raw)
    folder = make_records(study, tmp_path / "eval", 4)
    write_metrics(study, folder, tmp_path / "s.parquet", tmp_path / "m.parquet")
    write_tables(study, tmp_path / "m.parquet", tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.tex"))
    assert len(names) == 9
    inputs = "\n".join(f"\\input{{{name}}}\n\\clearpage" for name in names)
    preamble = "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage[T1]{fontenc}\n"
    preamble += "\\usepackage{booktabs}\n\\usepackage{graphicx}\n"
    (tmp_path / "paper.tex").write_text(f"{preamble}\\begin{{document}}\n{inputs}\n\\end{{document}}\n")
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull \\hbox" not in done.stdout
    assert "Float too large" not in done.stdout
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
