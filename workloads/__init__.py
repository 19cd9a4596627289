"""The workloads: one folder each, with the pod that runs it, its deadline and how its output is judged."""
