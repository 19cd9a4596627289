"""The report files of a run: one writer per format, all with one signature, fed from the report model only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from gpu_readiness.report import Report
from gpu_readiness.reports import json_report, junit, markdown
from gpu_readiness.reports.errors import ReportError
from gpu_readiness.reports.text import clean

__all__ = ["WRITERS", "ReportError", "write_all"]

#: Each writes its one file into an existing folder and returns the file's path; OSError if it cannot.
WRITERS: dict[str, Callable[[Report, Path], Path]] = {
    "json": json_report.write,
    "junit": junit.write,
    "md": markdown.write,
}


def write_all(report: Report, folder: Path) -> list[Path]:
    """Writes every format into `folder`, which is made if it is not there, and returns the files' paths.

    No file of an earlier report is touched before all new ones are complete.

    Raises:
        ReportError: the folder or a file in it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
            made = [write(report, Path(unfinished)) for write in WRITERS.values()]
            written = [folder / path.name for path in made]
            for new, final in zip(made, written, strict=True):
                new.replace(final)
    except OSError as problem:
        why = problem.strerror or str(problem)
        message = clean(f"the report cannot be written to {folder}: {why}; give another --readiness-output")
        raise ReportError(message) from problem
    return written
