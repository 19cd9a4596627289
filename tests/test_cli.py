"""The command line: what it lists, shows and refuses; what `check` does is tested with the plugin."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest
from sessions import COMMAND
from typer.testing import CliRunner

from gpu_readiness import __version__
from gpu_readiness.cli import app
from gpu_readiness.plugin import OPTIONS
from gpu_readiness.standard import Library

SHIPPED = Library.load().names()


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, *arguments: str | Path) -> None:
        result = CliRunner().invoke(app, [*map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr


@pytest.fixture
def standard(tmp_path: Path) -> Path:
    path = tmp_path / "training.yaml"
    path.write_text("title: Training pool\nextends: [hardware/h100-sxm5-80gb]\ngpu: {count: 8}\n", encoding="utf-8")
    return path


def test_the_version_is_the_distributions() -> None:
    said = Said("--version")
    assert (said.code, said.out) == (0, f"gpu-readiness {__version__}\n")
    assert importlib.metadata.version("pytest-gpu-readiness") == __version__


def test_without_a_command_it_shows_the_commands() -> None:
    said = Said()
    for command in ("check", "demo", "standard"):
        assert re.search(rf"^  {command} ", said.out + said.err, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [["chekc"], ["standard", "shwo"], ["demo", "--nodse", "3"], ["standard", "validate"]]
)
def test_an_unknown_command_or_option_is_a_usage_error(arguments: list[str]) -> None:
    # As a process: only there does the exit code become the one that a wrong option has anywhere else.
    said = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 4
    assert not said.stdout
    assert "Error: " in said.stderr


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_check_names_every_option_and_exit_code(flag: str) -> None:
    said = Said("check", flag)
    assert said.code == 0
    for name, values in OPTIONS:
        assert name in said.out
        assert " ".join(values["help"].partition("%")[0].split())[:40] in " ".join(said.out.split())
    assert "exit 0: ready, 1: a node is not, 6: a node is unknown, 4: nothing to judge" in " ".join(said.out.split())


def test_list_names_all_shipped_standards_with_their_titles() -> None:
    lines = Said("standard", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(SHIPPED)
    assert all(len(line.split()) > 1 for line in lines)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_standard_can_be_shown(name: str) -> None:
    said = Said("standard", "show", name)
    assert said.code == 0
    assert said.out.startswith(f"{name}: ")


def test_show_has_what_a_standard_extends_and_who_says_so(standard: Path) -> None:
    said = Said("standard", "show", standard)
    assert said.out.startswith("training: Training pool\n")
    assert "\ngpu.count: 8\n" in said.out
    assert re.search(r"^hardware/h100-sxm5-80gb gpu.memory: 81559 ±1%  # .+$", said.out, re.MULTILINE)


def test_show_takes_the_name_that_a_file_gives_itself(standard: Path) -> None:
    standard.write_text(standard.read_text("utf-8") + "name: pool-a\n", encoding="utf-8")
    said = Said("standard", "show", standard)
    assert said.code == 0, said.err
    assert said.out.startswith("pool-a: Training pool\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hardware/h10", "did you mean hardware/"),
        ("nosuch", "neither a shipped standard nor a file or folder"),
        ("broken.yaml", "standard broken.yaml: "),
        ("folder", "standard folder: "),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.yaml").write_text("gpu: [")
    Path("folder").mkdir()
    said = Said("standard", "show", name)
    assert said.code == 4
    assert not said.out
    assert len(said.err.splitlines()) == 1
    assert words in said.err


def test_validate_says_which_standards_can_be_used(standard: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("gpu: {cuont: 8}\n")
    said = Said("standard", "validate", standard, broken, "sharing/exclusive")
    assert said.code == 4
    assert said.out.splitlines() == [f"{standard}: good", "sharing/exclusive: good"]
    assert "gpu.cuont: " in said.err
    assert "did you mean count?" in said.err
    assert Said("standard", "validate", standard, tmp_path / "training.yaml").code == 0
