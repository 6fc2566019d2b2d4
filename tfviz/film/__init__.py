"""A run's snapshots as a film: each image's maps over the training."""
