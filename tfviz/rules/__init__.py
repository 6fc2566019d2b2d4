"""Backward rules for each kind of operation."""
