"""Rules: what each kind of operation gives back on the way from the outputs to the image."""
