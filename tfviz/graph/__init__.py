"""A Keras model as one flat list of typed steps: running it, backpropagating through it, searching it."""
