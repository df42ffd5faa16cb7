"""How Ray workers scale, and what it costs to send weights out and rollouts back."""
