"""The checks: one file per layer, one function per check, run with ``pytest --pyargs gpu_readiness.checks``."""
