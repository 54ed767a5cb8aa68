"""The controlled study of difficulty and budget (arXiv 2605.12906, sections 4 and 5).

`PROTOCOL.md` beside this file was written before the first run and says what is done and judged.
"""
