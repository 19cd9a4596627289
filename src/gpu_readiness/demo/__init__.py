"""A made-up fleet with seeded faults, judged like a real one: no GPU, no cluster.

`gpu-readiness demo` writes it, judges it, and says whether exactly the seeded faults were found.
"""
