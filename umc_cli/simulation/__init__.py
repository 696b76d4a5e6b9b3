"""Sounds and devices with a known truth, for demonstrations, tests, and training without measured devices."""
