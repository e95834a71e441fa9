"""Perturbed views: what is done to them, suites of named conditions, and the run of a suite over a finished model."""
