"""Pairs from prompts: photos and what people say of the objects in them, or prompts derived from annotation."""
