"""Which standard a node is judged by: the ones that were given, else the shipped ones that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpu_readiness.standard.consensus import consensus_paths
from gpu_readiness.standard.errors import StandardError, did_you_mean
from gpu_readiness.standard.match import NodeFacts, specificity
from gpu_readiness.standard.model import Body, Document, HardwareEntry, Standard, find_entry
from gpu_readiness.standard.resolve import NOTHING, Resolved, family, finish, resolve
from gpu_readiness.standard.sections import SharingStandard
from gpu_readiness.standard.shelf import Shelf, documents_at, shipped

_PARTS = ("hardware", "mock", "sharing", "stack")


class Library:
    """Standards, and which of them a node is judged by."""

    def __init__(self, documents: Shelf, given: Sequence[Document] = ()) -> None:
        self._documents = documents
        self._given = tuple(given)
        self._given_resolved: dict[str, Resolved] = {}
        self._standards: dict[tuple[object, ...], Standard] = {}
        self._entries: dict[str, tuple[HardwareEntry, ...]] = {}

    @classmethod
    def load(cls, paths: Sequence[str | Path] = ()) -> Library:
        """Each path is the name of a shipped standard, a YAML file or a folder of them; none: the shipped ones only.

        In a folder, files under `hardware/`, `sharing/` and `stack/`, and those without a match that another one
        extends, are parts: no node is matched with them.

        Raises:
            StandardError: a path or a standard cannot be used.
        """
        documents = shipped()
        given: dict[str, Document] = {}
        parts: set[str] = set()
        for path in paths:
            found = documents_at(path, documents)
            for document in found:
                if document.name in given:
                    raise StandardError(f"standard {document.name}: given twice; give one of them another name")
                given[document.name] = document
            parts |= {each.name for each in found if len(found) > 1 and family(each.name) in _PARTS}
        for document in given.values():
            documents.put(document)
        bases = {name for document in given.values() for name in document.extends}
        parts |= {each.name for each in given.values() if each.name in bases and each.match.is_empty}
        library = cls(documents, [each for each in given.values() if each.name not in parts])
        for name in given:
            library.get(name)
        return library

    def names(self) -> tuple[str, ...]:
        """All that can be extended or asked for."""
        return tuple(sorted(self._documents))

    def asks_for_consensus(self) -> bool:
        """Whether any of the given standards, or what it extends, has to look at a whole fleet."""
        return any(consensus_paths(self.get(document.name)) for document in self._given)

    def demands_prometheus(self) -> bool:
        """Whether any of the given standards wants a Prometheus to collect its nodes' metrics."""
        return any(self.get(document.name).telemetry.prometheus == "required" for document in self._given)

    def history_window(self) -> str:
        """The longest window over which a node may be judged by what Prometheus has.

        Where a given standard is for every node, the shipped ones judge none.
        """
        names = [document.name for document in self._given]
        if not any(document.match.is_empty for document in self._given):
            names += [name for name in self._documents if family(name) == "stack"]
        found = (self.get(name).telemetry.history for name in names)
        return max(found, key=lambda each: each.seconds).span

    def named_nodes(self) -> tuple[str, ...]:
        """Nodes that the given standards name in full: they are to be judged even if nothing else knows of them."""
        patterns = (pattern for document in self._given for pattern in document.match.nodes)
        return tuple(sorted({pattern for pattern in patterns if not set("*?[").intersection(pattern)}))

    def get(self, name: str) -> Standard:
        """A standard by its name, without what a node would add to it.

        Raises:
            StandardError: there is none of that name, or it cannot be used.
        """
        if name not in self._documents:
            raise StandardError(f"standard {name}: not known{did_you_mean(name, self._documents)}")
        return self.check(self._documents[name])

    def check(self, document: Document) -> Standard:
        """A document as a standard, whether the library has it or not.

        Raises:
            StandardError: it cannot be used.
        """
        resolved = resolve(document, self._documents)
        return finish(document.name, resolved, title=document.title, match=document.match)

    def hardware_of(self, product: str) -> str | None:
        """The name of the hardware standard of a product, None if there is none."""
        entry = find_entry(self._hardware("hardware"), product, None)
        return None if entry is None else entry.name

    def for_node(self, facts: NodeFacts) -> Standard | None:
        """The most specific of the given standards that matches, else what the shipped ones make of the node.

        None if nothing matches: no given standard, and no shipped hardware for what the node's GPUs call themselves.

        Raises:
            StandardError: two given standards match equally well.
        """
        document = self._matching(facts)
        return self._composed(facts) if document is None else self._completed(document, facts)

    def _matching(self, facts: NodeFacts) -> Document | None:
        ranked = [
            (level, document) for document in self._given if (level := specificity(document.match, facts)) is not None
        ]
        if not ranked:
            return None
        best = max(level for level, _ in ranked)
        winners = [document for level, document in ranked if level == best]
        if len(winners) > 1:
            raise StandardError(
                f"standards {winners[0].name} and {winners[1].name} match node {facts.name} equally well; "
                "make the match of one more specific"
            )
        return winners[0]

    def _completed(self, document: Document, facts: NodeFacts) -> Standard:
        """A given standard over the hardware, the sharing and the stack that it leaves open."""
        own = self._resolved(document)
        stack = None if own.stack else facts.stack
        sharing = None if own.sharing else _stated_sharing(own.body) or facts.sharing
        hardware = () if own.hardware else self._hardware_of(facts)
        key = (document.name, hardware, stack, sharing, facts.replicas)
        if key not in self._standards:
            under = self._part("sharing", sharing).over(self._part("stack", stack))
            for name in hardware:
                under = resolve(self._documents[name], self._documents).over(under)
            whole = _with_replicas(own.over(under), facts)
            self._standards[key] = finish(document.name, whole, title=document.title, match=document.match)
        return self._standards[key]

    def _composed(self, facts: NodeFacts) -> Standard | None:
        entries = self._hardware_of(facts)
        if not entries:
            return None
        key = (entries, facts.stack, facts.sharing, facts.replicas)
        if key not in self._standards:
            parts = [self._part("sharing", facts.sharing), self._part("stack", facts.stack)]
            names = [*entries]
            names += [f"sharing/{parts[0].sharing}"] if parts[0].sharing else []
            names += [f"stack/{parts[1].stack}"] if parts[1].stack else []
            whole = NOTHING
            for name in entries:
                whole = resolve(self._documents[name], self._documents).over(whole)
            whole = _with_replicas(whole.over(parts[0].over(parts[1])), facts)
            self._standards[key] = finish(" + ".join(names), whole)
        return self._standards[key]

    def _hardware_of(self, facts: NodeFacts) -> tuple[str, ...]:
        """Names of the hardware standards of a node's products; a PCI id helps only where a product is named."""
        entries = self._hardware("mock" if facts.mock else "hardware")
        found = {entry.name for product in facts.products if (entry := find_entry(entries, product, None))}
        if facts.products:
            found |= {entry.name for each in facts.device_ids if (entry := find_entry(entries, None, each))}
        return tuple(sorted(found))

    def _hardware(self, folder: str) -> tuple[HardwareEntry, ...]:
        if folder not in self._entries:
            own = [name for name in sorted(self._documents) if family(name) == folder]
            self._entries[folder] = tuple(
                entry for name in own for entry in resolve(self._documents[name], self._documents).hardware
            )
        return self._entries[folder]

    def _resolved(self, document: Document) -> Resolved:
        if document.name not in self._given_resolved:
            self._given_resolved[document.name] = resolve(document, self._documents)
        return self._given_resolved[document.name]

    def _part(self, folder: str, name: str | None) -> Resolved:
        full = f"{folder}/{name}"
        return resolve(self._documents[full], self._documents) if full in self._documents else NOTHING


def _stated_sharing(body: Body) -> str | None:
    """The sharing standard that a standard's own words ask for, whatever the node does."""
    if body.mig.strategy in ("single", "mixed"):
        return f"mig-{body.mig.strategy}"
    return "exclusive" if body.sharing.strategy == "none" else body.sharing.strategy


def _with_replicas(resolved: Resolved, facts: NodeFacts) -> Resolved:
    """Where the standard leaves the number of replicas open, the node's own is what the rest has to agree with."""
    sharing = resolved.body.sharing
    if facts.replicas is None or sharing.replicas is not None or sharing.strategy == "none":
        return resolved
    body = resolved.body.model_copy(
        update={"sharing": SharingStandard.model_construct(replicas=facts.replicas).over(sharing)}
    )
    return Resolved(body, resolved.hardware, resolved.stack, resolved.sharing)
