"""Target functions for models that are not classifiers, such as detectors and autoencoders."""
