"""What goes wrong with report files."""

from __future__ import annotations


class ReportError(Exception):
    """A report could not be written or read; the text is one line for the user."""
