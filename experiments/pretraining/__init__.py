"""Pre-training of backbones on photos without labels."""
