"""Send a run to a viewer on another machine: what to send, over which connection, and when."""
