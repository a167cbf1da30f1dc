"""No cell of a CSV file is run by a spreadsheet, and no number changes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from mrsearch.csv_cells import csv_text
from mrsearch.reporting.tables.table import to_csv

FORMULAS = (
    "=1+1",
    '=HYPERLINK("http://x","y")',
    "+1+1",
    "-1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(A1)",
    " =1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20SUM(A1)",
    "=",
    "@",
    "-x",
    "+ reflection",
    "--option",
)
PLAIN = ("", "-", "Search-R1", "Warm start + reflection", "a=b", "a@b", "3 hops", "'quoted'", "—", "2 - 1", "ä")
NUMBERS = ("-1", "+1", "-0.5", "-1e-05", "1.5E+3", "-.5", "-3.", "+2.5%", "-inf", "nan", "0")


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_become_text(text: str) -> None:
    assert csv_text(text) == f"'{text}"


@pytest.mark.parametrize("control", ["\t", "\r", "\n", "\r\n", "\x00", "\x0b", "\u2028"])
def test_no_text_begins_another_cell(control: str) -> None:
    assert csv_text(f"{control}=1") == "' =1"
    assert csv_text(f"a{control}=1") == "a =1"


@pytest.mark.parametrize("text", [*PLAIN, *NUMBERS])
def test_other_text_and_numbers_stay(text: str) -> None:
    assert csv_text(text) == text


def test_tables_hold_no_formulas() -> None:
    written = to_csv([{"method": text, "=key": -0.25, "whole": -3} for text in FORMULAS])
    head, *rows = list(csv.reader(io.StringIO(written, newline="")))
    assert head == ["method", "'=key", "whole"]
    assert [row[0] for row in rows] == [f"'{text}" for text in FORMULAS]
    assert {(row[1], row[2]) for row in rows} == {("-0.25", "-3")}


def test_data_of_figures_holds_no_formulas(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt
    import pandas as pd

    from mrsearch.reporting.figures.style import save

    data = pd.DataFrame({"label": pd.Categorical(["=1+1", "plain"]), "@x": ["-2", "+a"], "gain": [-0.5, float("nan")]})
    save(plt.figure(figsize=(1, 1)), data, tmp_path, "gain")
    assert (tmp_path / "gain.csv").read_text().splitlines() == ["label,'@x,gain", "'=1+1,-2,-0.5", "plain,'+a,"]
