"""Rewrite traced graphs to use only operations that other runtimes support."""
