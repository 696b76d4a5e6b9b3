"""A training run and its folder, whatever is trained: settings, state, metrics, weights, segments."""
