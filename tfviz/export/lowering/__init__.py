"""Rewrite traced graphs with the operations that other runtimes support."""
