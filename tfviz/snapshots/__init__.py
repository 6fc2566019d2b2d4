"""Take, store and send snapshots of what a network looks at during training."""
