"""Reading a keras.Model into a graph of typed steps."""
