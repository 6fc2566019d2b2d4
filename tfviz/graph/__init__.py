"""A model as a flat list of typed steps, with backpropagation and layer search."""
