"""Judges put to work: composed, over the rows of a file, and from the command line.

========== ====================================================================
compose    `open_judges`: several judges as one; the first that can tell decides
files      `judge_file`: the verdict on each row of a file, kept as they come
columns    where in a row question, response and gold stand
command    what `ppx judge` was asked for, as stages with their engines
========== ====================================================================
"""

from ppx_ext.judging.columns import Columns
from ppx_ext.judging.compose import open_judges
from ppx_ext.judging.files import Judged, judge_file

__all__ = ["Columns", "Judged", "judge_file", "open_judges"]
