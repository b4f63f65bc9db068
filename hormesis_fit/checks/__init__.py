"""What a reviewer asks: priors, evidence, other curves, what the data told."""
