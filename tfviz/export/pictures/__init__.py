"""Decode image files and draw maps, as TensorFlow operations."""
