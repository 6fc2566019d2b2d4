"""The model as a flat list of typed steps: running it, backpropagating, finding layers."""
