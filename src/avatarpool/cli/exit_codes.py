"""What the command's exit codes mean, beside 0 for all well and 1 for a failure."""

from __future__ import annotations

MISUSED = 2
"""Options or variables that cannot work."""

INTERRUPTED = 130
"""Ctrl-C or SIGTERM; what a shell reports for a command that Ctrl-C ended."""
