"""The paper (arXiv:2508.13497): one file per figure, the table of claims, the report.

Every figure has `data(quick)`, which returns its columns, and `plot(columns)`, which draws them and
nothing else, so that a picture can be drawn again from its CSV file.
"""

from qbjax.paper.reproduction import FIGURES, Reproduction, reproduce
from qbjax.paper.store import read_table

__all__ = ["FIGURES", "Reproduction", "read_table", "reproduce"]
