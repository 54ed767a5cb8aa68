"""A small demo that runs on a laptop: chat tasks, a tiny embedded base model, and its training."""
