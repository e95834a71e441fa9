"""One file per claim about speed: a ratio against a named baseline, measured in one run."""
