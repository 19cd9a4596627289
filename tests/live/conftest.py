"""Fixtures of the tests that need a cluster: a control plane on loopback, or any cluster where KUBECONFIG is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import kwok
from rig.build import NoGoError, build
from rig.load import clear
from rig.plane import ControlPlane

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "live: needs a cluster, or what starts one")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("live")


@pytest.fixture(scope="session")
def rig_binaries(pytestconfig: pytest.Config) -> Path:
    """The rig's programs, built if need be. Without Go the test is skipped; CI has it fail."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():  # building takes minutes the first time
            return build()
    except NoGoError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def plane(rig_binaries: Path) -> Iterator[ControlPlane]:
    """A control plane with nodes that kwok plays, for all tests."""
    with ControlPlane() as plane:
        kwok.start(plane)
        yield plane


@pytest.fixture
def empty_plane(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane without nodes, pods and what else snapshots have; and so it is left."""
    clear(plane)
    yield plane
    clear(plane)


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """The access to a cluster: KUBECONFIG's if it is set, or that of the control plane, which then has no nodes."""
    if path := os.environ.get("KUBECONFIG"):
        return Path(path)
    plane: ControlPlane = request.getfixturevalue("plane")
    return plane.kubeconfig
