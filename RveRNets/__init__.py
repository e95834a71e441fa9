"""The two-module network."""
