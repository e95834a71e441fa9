"""Photos without labels: their list, two random views of each, and their superpixels."""
