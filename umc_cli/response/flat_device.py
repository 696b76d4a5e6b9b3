"""The record of a device of which nothing is known: others are described by how they differ from it."""

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.response.device import N_BANDS, Device, Method
from umc_cli.response.frequency_response import band_centres_hz

ANY_SENSITIVITY_DBFS = -20.0
"""Of a device without a known level: only differences to it count."""


def flat_device(device_id: str, note: str, method: Method = "simulated") -> Device:
    """Return a record with a flat response and any level, without a noise floor. `note`: what it stands for."""
    return Device(
        id=device_id,
        name=device_id,
        method=method,
        note=note,
        sample_rate_hz=0,
        sensitivity_dbfs=ANY_SENSITIVITY_DBFS,
        trusted_range_hz=(0.0, SAMPLE_RATE_HZ / 2),
        band_centres_hz=tuple(float(centre) for centre in band_centres_hz().round(1)),
        frequency_response_db=(0.0,) * N_BANDS,
    )
