"""Waveforms that follow a converter: the spectrogram decides, the sound goes after it."""
