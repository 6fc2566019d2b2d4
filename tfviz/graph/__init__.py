"""Represent models by flat lists of typed steps, for backpropagation and layer search."""
