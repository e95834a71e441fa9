"""A plug-in module that learns which places count, after Chou, Lin and Kao 2022 (arXiv 2202.03822)."""
