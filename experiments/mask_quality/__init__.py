"""How good prompted masks are against annotation, and what a worse mask costs a trained model."""
