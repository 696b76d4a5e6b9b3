"""The stages of `cuda_check.py`."""
