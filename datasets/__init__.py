"""Photos and masks in, pairs of cut-outs out."""
