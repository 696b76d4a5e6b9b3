"""What a measurement heard, how good it is, and what to do next: for people who measure their first device."""

from pathlib import Path

import numpy as np

from umc_cli.audio.manifest import find_recordings
from umc_cli.config import Workspace
from umc_cli.errors import UmcError
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.workflows.measurement_record import MeasureIrReport

_GOOD_SNR_DB = 25.0
_GOOD_DISAGREEMENT_DB = 1.0
_GOOD_RANGE_HZ = (250.0, 8_000.0)


def what_was_heard(report: MeasureIrReport) -> list[str]:
    """Return a line for each recording of a stimulus; none for curves, ready impulse responses and blind estimates."""
    thing = {"impulse": "impulse", "sweep": "sweep"}.get(report.device.method, "sound")
    lines = []
    for recording, arrivals in report.arrivals_s.items():
        count = f"{len(arrivals)} {thing}{'' if len(arrivals) == 1 else 's'}"
        where = f", the first at {arrivals[0]:.2f} s" if arrivals else ""
        drift = report.drift_ppm.get(recording)
        clock = f"; the player's clock is {abs(drift):.0f} ppm {'slow' if drift > 0 else 'fast'}" if drift else ""
        lines.append(f"heard {count} in {Path(recording).name}{where}{clock}")
    return lines


def how_good(report: MeasureIrReport) -> str:
    """Return a sentence on the measurement: good, or what would make it better."""
    device = report.device
    facts, better = [], []
    snr_db = _snr_db(device)
    if snr_db is not None:
        facts.append(f"signal to noise {snr_db:.0f} dB in the middle")
        if snr_db < _GOOD_SNR_DB:
            better.append("play louder or nearer")
    if len(report.arrivals_s) + device.repeats > 2 and device.spread_db is not None:
        facts.append(f"repeats within {report.disagreement_db:.1f} dB of each other")
        if report.disagreement_db > _GOOD_DISAGREEMENT_DB:
            better.append("move nothing between repeats, gain control off")
    elif report.arrivals_s:
        better.append("record it twice: one repeat cannot be checked")
    low, high = device.trusted_range_hz
    facts.append(f"trusted from {low:.0f} to {high:.0f} Hz")
    if report.arrivals_s and (low > _GOOD_RANGE_HZ[0] or high < _GOOD_RANGE_HZ[1]):
        better.append("a sweep with more repeats reaches further")
    if device.noise_floor_db is None:
        facts.append("no noise floor: umc convert takes it from the device's recordings")
    verdict = f"usable; to do better: {', '.join(better)}" if better else "good"
    return f"{verdict} ({', '.join(facts)})"


def what_next(workspace: Workspace, device: Device) -> list[str]:
    """Return the commands that follow, each with what it does; paths to fill in are in angle brackets."""
    try:
        recorded = (
            {clip.device for clip in find_recordings(workspace.data, workspace.splits).clips}
            if workspace.data.is_dir()
            else set()
        )
    except UmcError:  # what is wrong with them is for the command that converts them to say
        recorded = set()
    other = next((name for name in DeviceRegistry(workspace.devices).ids() if name != device.id), None)
    lines = [] if device.id in recorded else [f"put its recordings into {workspace.data.name}/{device.id}/<label>/"]
    lines.append(f"umc convert --source {device.id} --targets all")
    if other:
        lines.append(f"umc devices compare {device.id} {other}")
    return lines


def after_making(kind: str, wav: str, sidecar: str) -> list[str]:
    """Return what to do with a stimulus that was written, in order."""
    loud = "as loud as loud music" if kind == "sweep" else "as loud as it goes without rattling"
    return [
        f"record with the phone, 30 to 50 cm from a loudspeaker, 2 s of silence first, gain control off; play {wav} to "
        f"its end, {loud}; once or twice more without moving anything",
        f"umc measure-ir TAKE1.wav TAKE2.wav --device PHONE --stimulus {sidecar} --figure PHONE.png",
    ]


def _snr_db(device: Device) -> float | None:
    if device.snr_db is None:
        return None
    low, high = device.trusted_range_hz
    trusted = [snr for snr, hz in zip(device.snr_db, device.band_centres_hz, strict=True) if low <= hz <= high]
    return float(np.median(trusted)) if trusted else None
