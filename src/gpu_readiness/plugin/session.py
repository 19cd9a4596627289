"""A readiness run inside of a pytest session: collection, outcomes, the exit status and the reports."""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gpu_readiness.baseline import BaselineError, nodes_of
from gpu_readiness.cluster.access import AccessProblem
from gpu_readiness.cluster.source import ClusterOptions, connect, gather_cluster
from gpu_readiness.declaration import LAYERS, Check, Outcome, declared
from gpu_readiness.evidence.reading import Unmeasured
from gpu_readiness.evidence.snapshot import Snapshot, SnapshotError, open_snapshot, scratch_folder
from gpu_readiness.node import Node
from gpu_readiness.plugin import terminal
from gpu_readiness.plugin.items import (
    CheckKind,
    ReadinessItem,
    items_of,
    longrepr_of,
    marks_of,
    outcome_of,
    shown,
    word_of,
)
from gpu_readiness.report import Report
from gpu_readiness.reports import ReportError, write_all
from gpu_readiness.reports.text import clean
from gpu_readiness.run import Engine, Settings, UsageProblem, no_garbage_collection
from gpu_readiness.selection import Selection
from gpu_readiness.standard import StandardError
from gpu_readiness.verdict import ExitCode, Reason, Result, Severity
from gpu_readiness.workload import WorkloadError

#: Arguments of a check that the engine gives; a check that asks for more is an ordinary test with these as fixtures.
ENGINE_ARGUMENTS = frozenset({"node", "standard", "cluster"})
#: Marks that pytest's own way of running a test acts on; a check that has one is an ordinary test, too.
ACTING_MARKS = frozenset({"parametrize", "skip", "skipif", "usefixtures", "xfail"})
_NODE: pytest.StashKey[Node] = pytest.StashKey()
#: Seconds between two drawings of the progress line.
_REDRAW = 0.1


class ReadinessSession:
    """Hook implementations; registered only where a source was given."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings = _settings(config)
        self.engine: Engine | None = None
        self.report: Report | None = None
        self.written: list[Path] = []
        self.problem = ""
        self._exit = ExitStack()
        # After pytest's own collections at the end, which would go through all the items once more.
        config.add_cleanup(gc.unfreeze)
        self._drawn = 0.0
        self._width = 0
        self._others_failed = False
        self._left_out: list[tuple[str, Check]] = []
        for mark in (*LAYERS, *(severity.value for severity in Severity)):
            config.addinivalue_line("markers", f"{mark}: readiness checks of this layer or severity")
        if config.option.verbose <= 0:  # the summary by node says it all; a line for every item would bury it
            config.option.reportchars = "".join(each for each in config.option.reportchars if each not in "fE")

    # --- start and collection
    # ------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Open the snapshot; whatever makes it unusable ends the run with one line."""
        try:
            self.engine = self._engine()
        except (AccessProblem, SnapshotError, UsageProblem, StandardError, WorkloadError) as problem:
            self._exit.close()
            raise pytest.UsageError(clean(str(problem))) from None
        self._draw("")

    def _engine(self) -> Engine:
        place = self.config.getoption("--readiness-snapshot")
        if place is not None:
            self._draw("reading the snapshot")
            return Engine(self._exit.enter_context(open_snapshot(Path(place))), self.settings)
        folder = self._exit.enter_context(scratch_folder())
        name = gather_cluster(_cluster_options(self.config), folder, self._draw)
        self._draw("reading what was gathered")
        return Engine(Snapshot(folder, name), self.settings, source="cluster")

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Any:
        """Collect without garbage collection, which would go through all items again and again; they stay anyhow."""
        with no_garbage_collection():
            result = yield
        gc.freeze()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(
        self, collector: pytest.Module | pytest.Class, name: str, obj: object
    ) -> list[Any] | None:
        """A declared check becomes one item per node; outside of the run's layers, none."""
        check = declared(obj)
        if check is None or self.engine is None:
            return None
        marks = {mark.name for mark in (*marks_of(check), *collector.iter_markers())}
        external = not set(check.parameters) <= ENGINE_ARGUMENTS or not marks.isdisjoint(ACTING_MARKS)
        try:
            self.engine.register(check, external=external)
        except UsageProblem as problem:
            raise collector.CollectError(clean(str(problem))) from None
        if not self.engine.planned(check):
            return []
        return None if external else list(items_of(collector, name, CheckKind(check, collector.nodeid), self.engine))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """The user's own workloads are checks too, without a function of their own; -k and -m know all checks alike."""
        if self.engine is None:
            return
        run_by_pytest = [
            (item, found[1]) for item in items if not isinstance(item, ReadinessItem) and (found := _check_of(item))
        ]
        for item, check in run_by_pytest:
            item.extra_keyword_matches |= {check.id, check.layer}
            item.add_marker(check.layer)
            item.add_marker(check.severity.value)
        if not run_by_pytest and not any(isinstance(item, ReadinessItem) for item in items):
            return
        for check in self.engine.own_workload_checks():
            self.engine.register(check)
            if self.engine.planned(check):
                items += items_of(session, check.id, CheckKind(check, "workload.yaml"), self.engine)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A check with fixtures of its own is an ordinary test, parametrised by node."""
        if self.engine is not None and declared(metafunc.function) is not None:
            if "readiness_node_name" not in metafunc.fixturenames:
                raise pytest.Collector.CollectError(f"{metafunc.function.__name__}: a check has to ask for `node`")
            metafunc.parametrize("readiness_node_name", self.engine.nodes, ids=shown)

    @pytest.fixture
    def node(self, readiness_node_name: str, request: pytest.FixtureRequest) -> Node:
        """The node that a check is run on, with its evidence."""
        assert self.engine is not None
        found = self.engine.node(readiness_node_name)
        check = declared(getattr(request, "function", None))
        if check is not None:
            found.outcome = Outcome(check.severity, check.hint, asserts=check.asserts)
        request.node.stash[_NODE] = found
        return found

    @pytest.fixture
    def standard(self, node: Node) -> Any:
        """The standard that the node is judged by."""
        return node.standard

    @pytest.fixture
    def cluster(self, node: Node) -> Any:
        """The cluster's objects."""
        return node.cluster

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remember what was left out: it is reported as not selected."""
        self._left_out += filter(None, map(_check_of, items))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What was collected and selected is the plan."""
        if self.engine is None:
            return
        try:
            self.engine.plan_for(filter(None, map(_check_of, session.items)), self._left_out)
        except UsageProblem as problem:
            self.engine.plan.clear()
            raise pytest.UsageError(clean(str(problem))) from None

    # --- running
    # -------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the items; ours without pytest's per-test protocol, which costs more than judging does.

        A check of ours has no set-up, no tear-down, no captured output and no warnings of its own: one report is all.
        """
        if self.config.option.collectonly or (
            session.testsfailed and not self.config.option.continue_on_collection_errors
        ):
            return None
        items = session.items
        for item, following in zip(items, [*items, None][1:], strict=True):
            if isinstance(item, ReadinessItem):
                self._report(item)
            else:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        return True

    def _report(self, item: ReadinessItem) -> None:
        hook = item.config.hook
        if self.config.option.verbose > 0:
            hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            hook.pytest_runtest_logreport(report=item.test_report())
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        else:
            hook.pytest_runtest_logreport(report=item.test_report())
            self._draw_progress()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """For whoever runs items by a loop of his own."""
        if not isinstance(item, ReadinessItem):
            return None
        self._report(item)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """The outcome of a check that ran as an ordinary test becomes its result."""
        report = yield
        found = _check_of(item)
        if found is None or isinstance(item, ReadinessItem) or self.engine is None:
            return report
        if call.when == "call" or (call.when == "setup" and call.excinfo is not None):
            name, check = found
            problem = call.excinfo.value if call.excinfo is not None else None
            result = self.engine.judge_external(name, check, item.stash.get(_NODE, None), _in_our_words(problem))
            report.outcome, _ = outcome_of(result)
            if report.outcome != "failed":
                report.longrepr = longrepr_of(result, (str(item.path), 0)) if report.outcome == "skipped" else None
            elif problem is None:
                report.longrepr = longrepr_of(result, (str(item.path), 0))
            vars(report)["readiness"] = result
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember whether something else than a readiness check failed."""
        if report.failed and not hasattr(report, "readiness"):
            self._others_failed = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """The words of the verdicts; no letter per item, which would be a wall of dots."""
        result = getattr(report, "readiness", None)
        if not isinstance(result, Result):
            return None
        word = word_of(result)
        summing_up = self.report is not None
        return word, "", word.upper() if summing_up or self.config.option.verbose > 0 else ""

    # --- the end
    # -------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the reports and set the exit status that the nodes deserve."""
        self._draw("")
        engine = self.engine
        option = self.config.option
        if (
            engine is None
            or not engine.plan
            or option.collectonly
            or option.showfixtures
            or option.show_fixtures_per_test
        ):
            self._exit.close()
            return
        own = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        self.report = engine.report(forced_exit=int(exitstatus) if own else None, others_failed=self._others_failed)
        session.exitstatus = self.report.exit_code
        try:
            self.written = write_all(self.report, Path(self.config.getoption("--readiness-output")))
        except ReportError as problem:
            self.problem = str(problem)
            session.exitstatus = self.report.exit_code = pytest.ExitCode.USAGE_ERROR
        self._exit.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The nodes that are not ready, then one line that says it all."""
        if self.report is not None and self.engine is not None:
            judged, _ = self.engine.progress()
            brief = self.config.option.verbose < 0 or not judged
            terminal.write(terminalreporter, self.report, self.written, brief=brief)
        if self.problem:
            terminalreporter.write_line(f"ERROR: {clean(self.problem)}", red=True)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind, however the session ended."""
        if self.engine is not None:
            self.engine.close()
        self._exit.close()

    # --- progress
    # ------------------------------------------------------------------------------------------------------

    def _draw_progress(self) -> None:
        now = time.monotonic()
        if self.engine is None or now - self._drawn < _REDRAW:
            return
        self._drawn = now
        done, failed = self.engine.progress()
        broken = f", {failed} not ready" if failed else ""
        self._draw(f"judged {done} of {len(self.engine.plan)} nodes{broken}")

    def _draw(self, text: str) -> None:
        """One line that overwrites itself, on a terminal only."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not reporter.isatty or self.config.option.verbose < 0:
            return
        reporter.rewrite(text, erase=True)


def _check_of(item: pytest.Item) -> tuple[str, Check] | None:
    """The node and check of an item; None for a test that is no readiness check."""
    if isinstance(item, ReadinessItem):
        return item.node, item.check
    check = declared(getattr(item, "function", None))
    callspec = getattr(item, "callspec", None)
    if check is None or callspec is None:
        return None
    return callspec.params["readiness_node_name"], check


def _in_our_words(problem: BaseException | None) -> BaseException | None:
    """What pytest.skip and pytest.fail mean for a check: it did not look, and it found something."""
    if isinstance(problem, pytest.skip.Exception):
        return Unmeasured(Reason.MISSING, f"skipped: {problem.msg}")
    return AssertionError(problem.msg) if isinstance(problem, pytest.fail.Exception) else problem


def explain(config: pytest.Config) -> int:
    """Print what the identity may do in the cluster: 0 if it may list all that is judged, 6 if not."""
    from rich.console import Console

    from gpu_readiness.cluster.explain import explain_access

    options = _cluster_options(config)
    try:
        api = connect(options)
    except AccessProblem as problem:
        raise pytest.UsageError(clean(str(problem))) from None
    enough = explain_access(api, options.namespace or api.namespace, Console(highlight=False, soft_wrap=True))
    return ExitCode.READY if enough else ExitCode.UNKNOWN


def _cluster_options(config: pytest.Config) -> ClusterOptions:
    return ClusterOptions(
        kubeconfig=config.getoption("--readiness-kubeconfig"),
        context=config.getoption("--readiness-context"),
        namespace=config.getoption("--readiness-namespace"),
        probe=config.getoption("--readiness-probe"),
        image=config.getoption("--readiness-probe-image"),
        seconds=config.getoption("--readiness-probe-timeout"),
        nodes=config.getoption("--readiness-nodes"),
        depth=config.getoption("--readiness-depth"),
        standards=tuple(config.getoption("--readiness-standard")),
        expected=_expected(config),
        prometheus=config.getoption("--readiness-prometheus"),
    )


def _expected(config: pytest.Config) -> frozenset[str]:
    baseline = config.getoption("--readiness-baseline")
    try:
        return nodes_of(Path(baseline)) if baseline else frozenset()
    except BaselineError as problem:
        raise pytest.UsageError(clean(str(problem))) from None


def _settings(config: pytest.Config) -> Settings:
    own = [source for source in ("--readiness-kubeconfig", "--readiness-context") if config.getoption(source)]
    if own and config.getoption("--readiness-snapshot"):
        raise pytest.UsageError(f"--readiness-snapshot and {own[0]}: a run judges one of them; leave one away")
    layers = config.getoption("--readiness-layers")
    chosen = tuple(part.strip() for part in layers.split(",")) if layers is not None else None
    for layer in chosen or ():
        if layer not in LAYERS:
            raise pytest.UsageError(f"--readiness-layers: {clean(layer)!r} is no layer; layers are {', '.join(LAYERS)}")
    try:
        Selection.parse(config.getoption("--readiness-nodes"))
    except ValueError as problem:
        raise pytest.UsageError(clean(str(problem))) from None
    coverage = config.getoption("--readiness-min-coverage")
    if not 0 <= coverage <= 100:
        raise pytest.UsageError(f"--readiness-min-coverage: {coverage:g} is no percentage from 0 to 100")
    seconds = config.getoption("--readiness-probe-timeout")
    if not 1 <= seconds <= 3600:
        raise pytest.UsageError(f"--readiness-probe-timeout: {seconds:g} is no number of seconds from 1 to 3600")
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "-n: a readiness run reads the evidence once and judges it in one place, "
            "so xdist would only read it again; leave -n away, or give -n 0"
        )
    return Settings(
        gate=config.getoption("--readiness-gate"),
        layers=chosen,
        depth=config.getoption("--readiness-depth"),
        nodes=config.getoption("--readiness-nodes"),
        standards=tuple(config.getoption("--readiness-standard")),
        workloads=tuple(config.getoption("--readiness-workloads")),
        strict=config.getoption("--readiness-strict"),
        min_coverage=coverage,
        expected=_expected(config),
    )
