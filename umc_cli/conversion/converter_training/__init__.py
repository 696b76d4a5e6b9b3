"""Training: adversarial from unpaired recordings, or with the truth on simulated devices; one kind of run for both."""
