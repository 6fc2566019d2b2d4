"""A Keras model as one flat list of places, and how to run it."""
