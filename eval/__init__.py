"""Scores, tables and reports: text in, numbers out.

The room imports neither torch nor hydra nor ``solo``, but for the reader of lines and tables,
``solo/rows.py``; it reads files that other stages wrote.
"""
