"""Decode image files and draw maps with TensorFlow operations."""
