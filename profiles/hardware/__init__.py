"""Hardware standards: one product each, its numbers with their sources."""
