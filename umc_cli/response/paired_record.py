"""Device records from recordings of the same sounds at once: one relative to a reference, and the reference's own."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from umc_cli.errors import InputError
from umc_cli.response.device import Device, Method, SourceFile, band_values
from umc_cli.response.flat_device import ANY_SENSITIVITY_DBFS, flat_device
from umc_cli.response.frequency_response import REFERENCE_HZ, band_centres_hz
from umc_cli.response.measured_response import trusted_bands, trusted_range_hz
from umc_cli.response.noise_floor import to_response_bands
from umc_cli.response.paired_response import PairedResponse

METHOD: Method = "side by side"


def flat_reference(device_id: str, source: SourceFile, floor_db: NDArray[np.float64]) -> Device:
    """Return the record of a reference of which nothing is known but its noise floor. Shape: [80], dB re full scale."""
    note = (
        "Flat reference: neither its response nor its level is measured. Others are measured next to it, and only "
        "differences to it count."
    )
    known = {"sources": (source,), "noise_floor_db": band_values(to_response_bands(floor_db))}
    return flat_device(device_id, note, METHOD).model_copy(update=known)


def what_is_missing(record: Device) -> list[str]:
    """Name what a reference's record lacks for others to be known relative to it."""
    values = {"level": record.sensitivity_dbfs, "noise floor": record.noise_floor_db}
    return [name for name, value in values.items() if value is None]


def completed(record: Device, floor_db: NDArray[np.float64]) -> Device:
    """Return a reference's record with a noise floor and a level, which its note says. Shape: [80], dB."""
    added = " and ".join(what_is_missing(record))
    note = f"{record.note} Added from recordings side by side: {added}".strip()
    if record.sensitivity_dbfs is None:
        note += f" ({ANY_SENSITIVITY_DBFS:g} dBFS, not measured: only differences to other devices count)"
        record = record.model_copy(update={"sensitivity_dbfs": ANY_SENSITIVITY_DBFS})
    if record.noise_floor_db is None:
        record = record.model_copy(update={"noise_floor_db": band_values(to_response_bands(floor_db))})
    return record.model_copy(update={"note": f"{note}."})


def relative_record(
    device_id: str, reference: Device, response: PairedResponse, sources: Sequence[SourceFile], n_segments: int
) -> Device:
    """Return the record of a device from its response relative to a reference, whose level is known.

    Raises:
        InputError: it cannot be trusted around 1 kHz.
    """
    difference_db = to_response_bands(response.difference_db)
    at_reference_db = float(np.interp(REFERENCE_HZ, band_centres_hz(), difference_db))
    snr_db = to_response_bands(response.snr_db)
    trusted = trusted_bands(snr_db, [reference.trusted_range_hz])
    if trusted.sum() < 2:
        raise InputError(
            f"{device_id} beside {reference.id}: the sounds do not rise above the noise around 1 kHz",
            "play louder, nearer, or in a quieter room",
        )
    flat = ", a flat reference whose own response is not known," if reference.method == METHOD else ","
    return Device(
        id=device_id,
        name=device_id,
        method=METHOD,
        sources=tuple(sources),
        note=f"Measured next to {reference.id}{flat} from recordings of the same sounds at once, in 80 bands.",
        sample_rate_hz=0,
        repeats=n_segments,
        sensitivity_dbfs=round((reference.sensitivity_dbfs or 0.0) + at_reference_db, 2),
        trusted_range_hz=trusted_range_hz(trusted),
        band_centres_hz=reference.band_centres_hz,
        frequency_response_db=band_values(np.array(reference.frequency_response_db) + difference_db - at_reference_db),
        noise_floor_db=band_values(to_response_bands(response.device_floor_db)),
        spread_db=band_values(to_response_bands(response.spread_db)),
        snr_db=band_values(snr_db),
    )
