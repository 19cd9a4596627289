"""The pytest plugin: options, and the hooks that hand over to the engine once it is asked for.

This module is imported in every pytest run of whoever installed the package, so it imports nothing but pytest;
without a readiness option it registers nothing and changes nothing.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

_GATES = ("acceptance", "drift", "pre-upgrade")
_DEPTHS = ("auto", "api", "smi", "probe", "active")
_PROBES = ("auto", "pod", "dra", "exec", "none")
#: Any of these says what to judge, and starts a readiness run.
SOURCES = ("--readiness-snapshot", "--readiness-cluster", "--readiness-kubeconfig", "--readiness-context")


#: The options, as pytest and argparse both take them.
OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--readiness-snapshot", {"metavar": "DIR", "help": "judge this snapshot: a directory, .tar, .tar.gz or .tar.zst"}),
    (
        "--readiness-cluster",
        {"action": "store_true", "help": "judge the cluster of the current context, or the one that this runs in"},
    ),
    ("--readiness-kubeconfig", {"metavar": "FILE", "help": "judge the cluster of this kubeconfig"}),
    ("--readiness-context", {"metavar": "NAME", "help": "judge the cluster of this context"}),
    (
        "--readiness-standard",
        {
            "metavar": "NAME|FILE|DIR",
            "action": "append",
            "default": [],
            "help": "node standard: a shipped name, a YAML file or a folder; repeatable (default: by GPU product)",
        },
    ),
    (
        "--readiness-nodes",
        {"metavar": "SELECTOR", "default": "", "help": "label selector, or names and globs, of the nodes to judge"},
    ),
    (
        "--readiness-baseline",
        {"metavar": "FILE|DIR", "help": "a report.json or a snapshot; its nodes are judged even if they are gone"},
    ),
    (
        "--readiness-gate",
        {"choices": _GATES, "default": _GATES[0], "help": "which layers are judged (default: %(default)s)"},
    ),
    ("--readiness-layers", {"metavar": "LAYERS", "help": "comma-separated layers instead of the gate's"}),
    (
        "--readiness-depth",
        {
            "choices": _DEPTHS,
            "default": _DEPTHS[0],
            "help": "how far down to look; auto: probe where any node has a probe, else smi (default: %(default)s)",
        },
    ),
    (
        "--readiness-probe",
        {
            "choices": _PROBES,
            "default": _PROBES[0],
            "help": "how nvidia-smi is asked for: a pod with a DRA claim, an unprivileged pod, by exec in a pod of the "
            "GPU stack, or none; auto: the first of these that works (default: %(default)s)",
        },
    ),
    (
        "--readiness-probe-timeout",
        {
            "metavar": "SECONDS",
            "type": float,
            "default": 180.0,
            "help": "how long a way of asking may take on a node; half of it for exec (default: %(default)g)",
        },
    ),
    ("--readiness-probe-image", {"metavar": "IMAGE", "default": "", "help": "image of the probe's pods"}),
    (
        "--readiness-namespace",
        {"metavar": "NAME", "default": "", "help": "namespace of the probe's pods (default: the context's)"},
    ),
    (
        "--readiness-prometheus",
        {
            "metavar": "URL",
            "default": "auto",
            "help": "the Prometheus to ask; auto: the one that runs in the cluster; none (default: %(default)s)",
        },
    ),
    (
        "--readiness-explain-access",
        {"action": "store_true", "help": "say what this identity may and may not do in the cluster, and do none of it"},
    ),
    (
        "--readiness-workloads",
        {
            "metavar": "DIR",
            "action": "append",
            "default": [],
            "help": "a folder of workloads beside the shipped ones; repeatable",
        },
    ),
    (
        "--readiness-output",
        {"metavar": "DIR", "default": "readiness-report", "help": "folder for the reports (default: %(default)s)"},
    ),
    ("--readiness-strict", {"action": "store_true", "help": "a degraded node fails the run"}),
    (
        "--readiness-min-coverage",
        {
            "metavar": "PCT",
            "type": float,
            "default": 100.0,
            "help": "exit 6 if fewer of the planned checks were measured (default: %(default)s)",
        },
    ),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; `gpu-readiness check` takes the same."""
    group = parser.getgroup("gpu-readiness", "GPU node readiness")
    for name, values in OPTIONS:
        group.addoption(name, **values)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the engine's own plugin if a source was given."""
    if any(config.getoption(source) for source in SOURCES):
        from gpu_readiness.plugin.session import ReadinessSession

        config.pluginmanager.register(ReadinessSession(config), "gpu_readiness_session")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Explain rights instead of running anything, if that is asked for."""
    if not config.getoption("--readiness-explain-access"):
        return None
    from gpu_readiness.plugin.session import explain

    return explain(config)


def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> list[Any] | None:
    """Without a source, a readiness check is no test: say so instead of running it against nothing."""
    if hasattr(obj, "__gpu_readiness_check__") and not collector.config.pluginmanager.has_plugin(
        "gpu_readiness_session"
    ):
        collector.config.stash.setdefault(_HOMELESS, []).append(name)
        return []
    return None


_HOMELESS: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Refuse a run of readiness checks that has nothing to judge."""
    homeless = config.stash.get(_HOMELESS, [])
    if homeless and not items:
        raise pytest.UsageError(
            f"{len(homeless)} readiness checks collected and nothing to judge; give --readiness-cluster, "
            "--readiness-kubeconfig FILE or --readiness-snapshot DIR (try `gpu-readiness demo` for one)"
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Beside ordinary tests, checks without a source are left out, and that is said."""
    homeless = config.stash.get(_HOMELESS, [])
    if homeless:
        line = f"{len(homeless)} readiness checks were not run: nothing to judge, no {' or '.join(SOURCES[:2])}"
        terminalreporter.write_line(line, yellow=True)


def describe_options() -> str:
    """The options of a readiness run, for `gpu-readiness check --help`."""
    parser = argparse.ArgumentParser(
        prog="gpu-readiness check",
        usage="gpu-readiness check [OPTIONS] [PYTEST ARGUMENTS]",
        description="Judge GPU nodes; exit 0: ready, 1: a node is not, 6: a node is unknown, 4: nothing to judge. "
        "Further arguments are pytest's own: folders with checks of yours, -k, -m, -x, -v, -q.",
        epilog="example: gpu-readiness check --readiness-snapshot snapshot/ --readiness-standard standards/",
        add_help=False,
    )
    for name, values in OPTIONS:
        parser.add_argument(name, **values)
    return parser.format_help()


#: Options that need pytest's cache; without one of them, the command writes nothing but its reports.
_CACHE_OPTIONS = (
    "--lf",
    "--last-failed",
    "--ff",
    "--failed-first",
    "--nf",
    "--new-first",
    "--sw",
    "--stepwise",
    "--cache",
)


def with_source(arguments: Sequence[str]) -> list[str]:
    """The command's arguments; where none says what to judge, it is the current cluster."""
    given = any(argument.partition("=")[0] in SOURCES for argument in arguments)
    return [*arguments] if given else ["--readiness-cluster", *arguments]


def run(arguments: Sequence[str]) -> int:
    """Run pytest with these arguments, for the command line; its exit code."""
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    if not any(argument.startswith(_CACHE_OPTIONS) for argument in arguments):
        quiet += ["-p", "no:cacheprovider"]
    return int(pytest.main([*arguments, *quiet]))
