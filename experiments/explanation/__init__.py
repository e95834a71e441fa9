"""Class activation maps of every module of a model, on one scale, and what can be counted on them."""
