"""A run on disk: folder, state file, checkpoint."""
