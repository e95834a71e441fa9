"""Does pre-training help: one command that pre-trains, fine-tunes with few labels and many, and compares."""
