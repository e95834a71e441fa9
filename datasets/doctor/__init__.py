"""What is wrong or unusual with archives and trees of pairs: findings with a code, a severity and a fix. No torch."""
