"""Turn the snapshots of a run into a film that shows how the maps change during training."""
