"""Training a sound event classifier (SEC) and the methods that make it robust to unknown devices."""
