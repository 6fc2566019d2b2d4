"""Backward rules for the methods, by operation type."""
