"""Workers killed in the middle of their rollouts, and a ledger of every transition."""
