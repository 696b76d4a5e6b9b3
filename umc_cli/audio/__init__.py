"""From audio files to log-mel spectrograms."""
