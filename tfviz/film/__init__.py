"""Turn a run's snapshots into a film that shows how the maps change during training."""
