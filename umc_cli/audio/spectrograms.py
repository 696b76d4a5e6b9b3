"""Log-mel spectrograms of numpy arrays, for those who have no other use for torch: it is loaded with the first one."""

import numpy as np
from numpy.typing import NDArray


def spectrograms_of(waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `audio.log_mel.log_mel` makes of waveforms. Shape: [B, 20480] -> [B, 80, 80], dB."""
    import torch

    from umc_cli.audio.log_mel import log_mel

    return log_mel(torch.from_numpy(waveforms)).numpy()
