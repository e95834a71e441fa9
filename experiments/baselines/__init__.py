"""What can be known of a food without seeing it: baselines that a claim about context must beat. No GPU is needed."""
