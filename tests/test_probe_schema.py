"""The published schema of probe.json is that of the model."""

from __future__ import annotations

import json
from pathlib import Path

from gpu_readiness.evidence import probe

PUBLISHED = Path(probe.__file__).with_name("probe.schema.json")


def test_published_schema_is_current() -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert published.pop("$schema").endswith("2020-12/schema")
    assert published == probe.schema()
