"""The least that any judge of a snapshot has to do: parse its JSON and XML, read the rest. `plain.py SNAPSHOT`."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def main() -> None:
    """Read every file once and keep nothing of the nodes' own."""
    snapshot = Path(sys.argv[1])
    cluster = {each.name: json.loads(each.read_bytes()) for each in (snapshot / "cluster").iterdir()}
    gpus = 0
    for node in (snapshot / "nodes").iterdir():
        for artefact in node.iterdir():
            if artefact.suffix == ".xml":
                gpus += len(ET.parse(artefact).findall("gpu"))
            else:
                artefact.read_bytes()
    print(f"{len(cluster['nodes.json']['items'])} nodes, {gpus} GPUs")


if __name__ == "__main__":
    main()
