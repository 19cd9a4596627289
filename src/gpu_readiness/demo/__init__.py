"""A demonstration fleet."""
