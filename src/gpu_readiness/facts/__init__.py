"""What follows from evidence before anyone judges it: pure functions over a node, its GPUs and its cluster."""
