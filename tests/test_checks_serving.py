from __future__ import annotations

import pytest
from nodes import SERVING, Fleet, fails, h100, passes, untested, warns, with_workloads, workload_result

LOG = "workloads/serving-vllm.log"
STANDARD = {"start-seconds": "<=120", "ttft-seconds": "<=1", "tokens-per-second": ">=500"}


def _served(figures: dict[str, float] | None = None, *, without: str = "", ok: bool = True) -> Fleet:
    said = {name: value for name, value in {**SERVING, **(figures or {})}.items() if name != without}
    return with_workloads(h100()).says(serving=STANDARD).file(LOG, workload_result("serving", said, ok=ok))


# --- serving.start -------------------------------------------------------------------------------------------


def test_start_passes_within_its_limit() -> None:
    assert passes(_served().judge("serving.start"))
    assert passes(_served().says(serving={"start-seconds": None}).judge("serving.start"))


def test_start_fails_over_its_limit() -> None:
    assert fails(_served({"start-seconds": 300}).judge("serving.start"), "start-seconds", "300")


def test_start_fails_when_the_server_did() -> None:
    assert fails(_served(ok=False).judge("serving.start"), "server", "failed")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "missing"), ("", "missing"), ("<html>502</html>", "unparsable")]
)
def test_start_is_untested_or_an_error_without_output(content: str | None, reason: str) -> None:
    assert untested(_served().file(LOG, content).judge("serving.start"), reason)


def test_start_is_untested_when_the_result_has_no_time() -> None:
    assert untested(_served(without="start-seconds").judge("serving.start"), "missing", "start-seconds")


# --- serving.completion --------------------------------------------------------------------------------------


def test_completion_passes_when_as_many_tokens_came_as_were_asked_for() -> None:
    assert passes(_served().judge("serving.completion"))


@pytest.mark.parametrize("returned", [0, 63])
def test_completion_fails_when_fewer_came(returned: int) -> None:
    assert fails(_served({"tokens-returned": returned}).judge("serving.completion"), "tokens-returned", str(returned))


def test_completion_is_untested_when_the_result_does_not_count_tokens() -> None:
    assert untested(_served(without="tokens-returned").judge("serving.completion"), "missing", "tokens-returned")


def test_completion_is_untested_when_the_server_did_not_start() -> None:
    assert untested(_served(ok=False).judge("serving.completion"), "blocked", "serving.start")


# --- serving.performance, serving.metrics --------------------------------------------------------------------


def test_performance_passes_at_the_standards_figures() -> None:
    assert passes(_served().judge("serving.performance"))


@pytest.mark.parametrize(
    ("figure", "value"),
    [("ttft-seconds", 4.0), ("tokens-per-second", 120.0)],
)
def test_performance_warns_when_one_is_slow(figure: str, value: float) -> None:
    assert warns(_served({figure: value}).judge("serving.performance"), figure, f"{value:g}")


def test_performance_is_untested_when_a_figure_is_missing() -> None:
    assert untested(_served(without="ttft-seconds").judge("serving.performance"), "missing", "ttft-seconds")


def test_performance_is_untested_where_the_standard_is_silent() -> None:
    assert untested(with_workloads(h100()).judge("serving.performance"), "no-standard")


def test_metrics_passes_when_the_servers_own_counter_moved() -> None:
    assert passes(_served().judge("serving.metrics"))


def test_metrics_warns_when_it_did_not() -> None:
    assert warns(_served({"generated-tokens-metric": 0}).judge("serving.metrics"), "generated-tokens-metric", "0")


def test_metrics_is_untested_when_nobody_looked() -> None:
    assert untested(_served(without="generated-tokens-metric").judge("serving.metrics"), "missing")
