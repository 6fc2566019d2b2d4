"""Represent models as flat lists of typed steps, for backpropagation and layer search."""
