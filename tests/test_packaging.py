"""What a user installs: the wheel holds what the repository holds, under one name, with options of one prefix."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import gpu_readiness

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {
    folder: package.replace(".", "/") for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
}


def _repository_files() -> list[str]:
    """What a commit of this tree would hold."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing to compare the wheel with")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return sorted(name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists())


def _name_in_wheel(path: str) -> str | None:
    """Where a file of the repository lies in the wheel; None if it is not part of the package."""
    for folder, package in FOLDERS.items():
        if path.startswith(f"{folder}/"):
            return package + path.removeprefix(folder)
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a clean copy, so that caches and leftovers of this checkout can neither help nor harm."""
    pytest.importorskip("build", reason="build comes with the dev extra: pip install -e '.[dev]'")
    source = tmp_path_factory.mktemp("source")
    for name in _repository_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def wheel_metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_wheel_holds_what_the_repository_holds(wheel: zipfile.ZipFile) -> None:
    packaged = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {name for path in _repository_files() if (name := _name_in_wheel(path))}
    assert packaged == expected, "list new packages and file suffixes in pyproject.toml under [tool.setuptools]"


def test_wheel_brings_one_typed_package_and_the_licence(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gpu_readiness"}
    assert "gpu_readiness/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_wheel_metadata(wheel_metadata: Message) -> None:
    assert wheel_metadata["License-Expression"] == "Apache-2.0"
    assert wheel_metadata["Requires-Python"] == ">=3.11"
    assert {"Framework :: Pytest", "Typing :: Typed"} <= set(wheel_metadata.get_all("Classifier", []))


def test_version_has_one_source_and_a_changelog_entry(wheel_metadata: Message) -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert wheel_metadata["Version"] == gpu_readiness.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)[0] == gpu_readiness.__version__


def test_every_run_time_dependency_is_a_range() -> None:
    exact = [each for each in PROJECT["project"]["dependencies"] if ">=" not in each or "==" in each]
    assert not exact


def test_entry_points() -> None:
    (plugin,) = entry_points(group="pytest11", name="gpu_readiness")
    assert plugin.value == "gpu_readiness.plugin"
    (command,) = entry_points(group="console_scripts", name="gpu-readiness")
    assert callable(command.load())


def test_plugin_adds_only_prefixed_options(pytester: pytest.Pytester) -> None:
    with_plugin = _options(pytester.runpytest_subprocess("--help").stdout.str())
    without = _options(pytester.runpytest_subprocess("--help", "-p", "no:gpu_readiness").stdout.str())
    own = with_plugin - without
    assert own, "the plugin is not loaded: pip install -e '.[dev]'"
    foreign = {name for name in own if not name.startswith(("--readiness-", "readiness_"))}
    assert not foreign


def _options(help_text: str) -> set[str]:
    """Option strings and ini names that `pytest --help` lists."""
    option_columns = " ".join(re.findall(r"^  (-.*?)(?:  |$)", help_text, re.MULTILINE))
    ini_names = re.findall(r"^  (\w+) \(\w+\):", help_text, re.MULTILINE)
    return {*re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", option_columns), *ini_names}
