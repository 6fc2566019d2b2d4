"""Send a run to a viewer on another machine."""
