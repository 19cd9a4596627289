"""How a live run asked a node's driver, as it wrote it down in `gather.json`: said in the report, judged by nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_readiness.evidence.documents import parse_json
from gpu_readiness.evidence.kube import mapping, strings, text

SOURCE = "gather.json"
_MAX_WORDS = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """The `way` that answered (`dra`, `pod`, `exec`; empty if none), who answered, and why the others did not."""

    way: str
    by: str
    not_by: Mapping[str, str]

    def to_json(self) -> str:
        """As `parse_asked` reads it."""
        return json.dumps({"way": self.way, "by": self.by, "not_by": dict(self.not_by)})


def parse_asked(data: bytes) -> Asked:
    """Read gather.json; what is not as it should be reads as empty.

    Raises:
        Unmeasured: no JSON.
    """
    found = mapping(parse_json(data, SOURCE))
    why = {key[:20]: said[:_MAX_WORDS] for key, said in list(strings(found.get("not_by")).items())[:10]}
    return Asked(text(found.get("way"))[:20], text(found.get("by"))[:_MAX_WORDS], why)
