"""Model → predictions → scores: one benchmark a file."""
