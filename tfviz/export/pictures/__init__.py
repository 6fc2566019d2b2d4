"""Picture files in and pictures out, as TensorFlow operations."""
