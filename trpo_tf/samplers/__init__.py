"""Samplers: from a vector environment and a policy to rollouts."""
