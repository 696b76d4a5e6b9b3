"""Converted spectrograms on disk: HDF5 shards per target device, and the plan that they fulfil."""
