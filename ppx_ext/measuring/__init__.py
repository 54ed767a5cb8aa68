"""`ppx measure`: measures of a recipe's rows, side by side, and how they go together."""

from ppx_ext.measuring.numbers import Measure, Pair, Table, pairs
from ppx_ext.measuring.run import measure_table, with_measure, write

__all__ = ["Measure", "Pair", "Table", "measure_table", "pairs", "with_measure", "write"]
