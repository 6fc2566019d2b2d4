"""Target functions for models other than classifiers: embeddings, detectors, autoencoders."""
