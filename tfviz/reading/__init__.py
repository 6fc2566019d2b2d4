"""Read a Keras model into a graph of typed steps."""
