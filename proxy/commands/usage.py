"""What was given to a command makes no sense: said to whoever gave it, by whatever reads the command line."""

from __future__ import annotations


class UsageProblem(Exception):
    """The text says what is wrong, and what to give instead."""
