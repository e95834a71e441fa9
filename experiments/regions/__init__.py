"""Does knowing the mask beat learning where to look: models that are given the region against models that find it."""
