"""Where the recorded artefacts of real machines are, if they are there: they are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "corpus"
_FOLDER = Path(os.environ.get("GPU_READINESS_CORPUS") or _BESIDE)

CORPUS: Path | None = _FOLDER if _FOLDER.is_dir() else None

needs_corpus = pytest.mark.skipif(
    CORPUS is None, reason=f"no corpus: set GPU_READINESS_CORPUS ({_FOLDER} is no folder)"
)


def recorded(path: str) -> bytes:
    """One artefact of the corpus, by its path in INDEX.tsv."""
    assert CORPUS is not None
    return (CORPUS / "real" / path).read_bytes()
