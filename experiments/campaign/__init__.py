"""What the experiments that train on many seeds share: one run, and a grid of runs."""
