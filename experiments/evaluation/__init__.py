"""Finished runs scored under a suite of conditions, with intervals, comparisons, tables and pictures."""
