"""Scores, tables and reports: text in, numbers out.

The room imports neither torch nor hydra nor ``solo``; it reads files that other stages wrote.
"""
