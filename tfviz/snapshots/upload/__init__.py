"""Sending a run to a viewer on another machine: what is sent, over which connection, and when."""
