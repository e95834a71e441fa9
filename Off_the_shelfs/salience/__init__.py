"""A small network that chooses which part of a picture is classified, after Li's salience selector for timm."""
