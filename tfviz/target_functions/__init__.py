"""Target functions for models that are not classifiers: embeddings, detectors, autoencoders."""
