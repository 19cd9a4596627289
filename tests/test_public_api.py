"""What users and other plugins hold on to: names, options, and that being installed costs nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpu_readiness
from gpu_readiness.declaration import check
from gpu_readiness.verdict import Severity

HEAVY = ("pydantic", "yaml", "rich", "typer", "prometheus_client", "defusedxml", "jinja2")
PLUGIN = Path(gpu_readiness.__file__).parent / "plugin"


def test_public_names_are_sorted_and_listed_once() -> None:
    assert gpu_readiness.__all__ == sorted(set(gpu_readiness.__all__))


@pytest.mark.parametrize("name", gpu_readiness.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(gpu_readiness, name).__doc__


def test_what_is_imported_by_name_is_public() -> None:
    assert sorted(gpu_readiness._HOMES) == gpu_readiness.__all__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ckeck'"):
        gpu_readiness.ckeck  # noqa: B018


@pytest.mark.parametrize("module", ["gpu_readiness", "gpu_readiness.plugin"])
def test_being_installed_costs_no_pytest_run_anything(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [each for each in loaded if each.partition(".")[0] in HEAVY]
    assert not [each for each in loaded if each.startswith("gpu_readiness.") and not module.startswith(each)]


def test_every_option_has_the_prefix_and_help() -> None:
    arguments = [sys.executable, "-m", "pytest", "--help", "-p", "no:cacheprovider"]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    _, _, group = said.partition("GPU node readiness:")
    group = re.split(r"\n\S", group)[0]
    options = re.findall(r"^  (-\S+)", group, re.MULTILINE)
    assert len(options) >= 10
    assert all(option.startswith("--readiness-") for option in options)
    assert "addoption(" in (PLUGIN / "__init__.py").read_text()


def test_options_are_added_in_one_place_and_all_of_them_are_prefixed() -> None:
    for path in PLUGIN.glob("*.py"):
        for option in re.findall(r"addoption\(\s*\"([^\"]+)\"", path.read_text()):
            assert option.startswith("--readiness-"), path.name


# --- declaring a check ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["ecc", "gpu.", ".ecc", "gpu.ecc.mode"])
def test_a_check_needs_a_layer_and_a_name(id: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(id))):
        check(id)


def test_a_check_needs_a_title() -> None:
    def test_nothing() -> None:
        pass

    with pytest.raises(ValueError, match="docstring"):
        check("gpu.nothing")(test_nothing)


def test_the_title_is_the_first_paragraph_of_the_docstring() -> None:
    @check("gpu.nothing", severity="warning")
    def test_nothing() -> None:
        """Nothing is
        wrong.

        And more about it.
        """

    found = test_nothing.__gpu_readiness_check__  # type: ignore[attr-defined]
    assert (found.title, found.severity, found.layer) == ("Nothing is wrong.", Severity.WARNING, "gpu")
