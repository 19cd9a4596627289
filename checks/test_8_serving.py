"""Layer 8, serving: a model server on the node answers real requests."""

from __future__ import annotations

from gpu_readiness import Node, Standard, check, serving_figure, serving_run

NVML = ("driver.nvml",)


@check("serving.start", needs=NVML, hint="read the server's log; /health alone proves nothing")
def test_start(node: Node, standard: Standard) -> None:
    """The model server is ready within its limit."""
    run = serving_run(node)
    node.require(run.ok is not False, "server", expected="started", observed="failed", source="workloads/serving.log")
    node.judge_if_known("start-seconds", serving_figure(run, "start-seconds"), standard.serving.start_seconds)
    if standard.serving.start_seconds is None:
        node.judge("start-seconds", serving_figure(run, "start-seconds"), ">=0")


@check("serving.completion", needs=("serving.start",), hint="read the server's log for CUDA errors")
def test_completion(node: Node) -> None:
    """A real completion returns the tokens that were asked for."""
    run = serving_run(node)
    asked = serving_figure(run, "tokens-asked")
    node.judge("tokens-returned", serving_figure(run, "tokens-returned"), asked.value if asked.there else ">=1")


@check(
    "serving.performance", severity="warning", needs=("serving.completion",), hint="compare with the node's neighbours"
)
def test_performance(node: Node, standard: Standard) -> None:
    """Time to first token and tokens per second are the standard's."""
    run = serving_run(node)
    node.judge_if_known("ttft-seconds", serving_figure(run, "ttft-seconds"), standard.serving.ttft_seconds)
    node.judge_if_known(
        "tokens-per-second", serving_figure(run, "tokens-per-second"), standard.serving.tokens_per_second
    )


@check(
    "serving.metrics", severity="warning", needs=("serving.completion",), hint="look at the server's metrics endpoint"
)
def test_metrics(node: Node) -> None:
    """The server's own metrics moved with the completion."""
    node.judge("generated-tokens-metric", serving_figure(serving_run(node), "generated-tokens-metric"), ">0")
