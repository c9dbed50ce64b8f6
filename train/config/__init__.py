"""Methods, settings and presets of a training: data that imports nothing else of train."""
