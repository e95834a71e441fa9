"""Photo and prompts in, masks out: SAM and GrabCut behind one small interface."""
