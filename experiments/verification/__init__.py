"""Whether the numbers of a finished run follow from its files and its model."""
