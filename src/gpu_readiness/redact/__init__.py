"""What is kept out of a snapshot: secrets always (`prune`), identities where that is asked for (`Redactor`)."""

from gpu_readiness.redact.prune import prune
from gpu_readiness.redact.redactor import Redactor

__all__ = ["Redactor", "prune"]
