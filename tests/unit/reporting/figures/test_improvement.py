"""The axis of relative improvements."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from mrsearch.reporting.figures.improvement import shorten


@pytest.mark.parametrize(
    ("percent", "right", "scale"),
    [
        ([0.0, 4.0, 17.0, -10.0, 900.0], 1100.0, "symlog"),
        ([250.0, 400.0, 300.0, 900.0], 1100.0, "linear"),
        ([0.0, 4.0, 80.0, -10.0], 95.0, "linear"),
        ([np.nan], 1.0, "linear"),
    ],
)
def test_a_lone_large_improvement_does_not_squeeze_the_others(percent: list[float], right: float, scale: str) -> None:
    axes = Figure().add_subplot()
    axes.set_xlim(-50.0, right)
    shorten(axes, np.array(percent), right)
    assert axes.get_xscale() == scale
    if scale == "symlog":
        x = [axes.transAxes.inverted().transform(axes.transData.transform((value, 0.5)))[0] for value in (0, 100, 900)]
        assert x[1] - x[0] > 0.3 and x[2] < 1.0
        assert [tick for tick in axes.get_xticks() if tick > 0] == [50, 100, 300, 1000, 3000, 10000]
