"""Models that leave the project: a self-contained folder, ONNX, and the hub of Hugging Face."""
