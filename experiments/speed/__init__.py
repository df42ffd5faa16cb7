"""How fast trpo_tf is, beside sb3-contrib's TRPO and Tianshou's, and how near to the machine."""
