"""What is broken on purpose around a training, and what must come of it."""
