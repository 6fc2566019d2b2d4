"""Metrics of how well a method's maps agree with the model."""
