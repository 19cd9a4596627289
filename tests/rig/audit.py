"""What the API server was asked for, as it logged it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `at`: when it arrived, as time.time() says it; `code` is 0 while it goes on."""

    at: float
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    uri: str
    code: int
    user: str
    user_agent: str


class AuditLog:
    """Reads the log as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._events: dict[str, Request] = {}

    def requests(self) -> list[Request]:
        """All requests so far, in the order of their arrival."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    event = json.loads(line)
                    # A long request is logged when its answer begins, and again when it ends.
                    self._events[event["auditID"]] = _request(event)
        return sorted(self._events.values(), key=lambda each: each.at)


def _request(event: dict[str, Any]) -> Request:
    subject = event.get("objectRef", {})
    return Request(
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
        verb=event["verb"],
        group=subject.get("apiGroup", ""),
        resource=subject.get("resource", ""),
        subresource=subject.get("subresource", ""),
        namespace=subject.get("namespace", ""),
        name=subject.get("name", ""),
        uri=event["requestURI"],
        code=event.get("responseStatus", {}).get("code", 0),
        user=event["user"].get("username", ""),
        user_agent=event.get("userAgent", ""),
    )
