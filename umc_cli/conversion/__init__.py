"""From a log-mel spectrogram of the source device to those of the target devices."""
