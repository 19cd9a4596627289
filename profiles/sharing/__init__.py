"""Sharing standards: how GPUs are handed out."""
