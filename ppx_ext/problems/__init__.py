"""Word problems with a known number of operations, solved step by step; as many as are wanted.

In the spirit of iGSM (the synthetic data of arXiv 2605.12906, sections 4 and 5), written anew:
counts that hang on one another, told in any order, in arithmetic modulo a small number so that
every number is one token. Difficulty is the number of operations that the answer needs.

========= ==================================================================
making    one random problem: counts, and the operation behind each
wording   the question and the solution as text
supply    distinct problems, split into train and test; rows of a file
========= ==================================================================
"""

from ppx_ext.problems.making import MOST_OPS, Operation, Problem, make_problem
from ppx_ext.problems.supply import Settings, Split, distinct, drawn, row_of, rows, split_of, write
from ppx_ext.problems.wording import final_answer, question, solution

__all__ = [
    "MOST_OPS",
    "Operation",
    "Problem",
    "Settings",
    "Split",
    "distinct",
    "drawn",
    "final_answer",
    "make_problem",
    "question",
    "row_of",
    "rows",
    "solution",
    "split_of",
    "write",
]
