"""Where models and data meet."""
