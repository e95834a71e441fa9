"""Region-to-object pre-training: a backbone learns regions of photos without labels."""
