"""Pictures: figures and what is drawn in them (`panels`), datasets of sweeps (`datasets`)."""

from qbjax.plotting.datasets import draw_sweep, heatmap, lines
from qbjax.plotting.panels import (
    ONE_COLUMN,
    TWO_COLUMNS,
    charging_curve,
    charging_time,
    figure,
    name_panels,
    plain_ticks,
    scaling,
    tomogram,
)

__all__ = [
    "ONE_COLUMN",
    "TWO_COLUMNS",
    "charging_curve",
    "charging_time",
    "draw_sweep",
    "figure",
    "heatmap",
    "lines",
    "name_panels",
    "plain_ticks",
    "scaling",
    "tomogram",
]
