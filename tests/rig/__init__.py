"""A real Kubernetes control plane on loopback, with nodes that are objects only, for the tests of live clusters."""
