"""The measured responses that methods of `umc synth-fr` learn from: device records, or impulse responses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

import umc_cli
from umc_cli.audio.files import read_header
from umc_cli.config import Settings, Workspace, dump_settings
from umc_cli.errors import InputError, SettingsError
from umc_cli.response.device import N_BANDS, DeviceRegistry
from umc_cli.response.frequency_response import band_centres_hz, band_response_db, impulse_response_curve
from umc_cli.response.synthesis.contract import Responses
from umc_cli.response.synthesis.drawing import draw_set, find_method, fit_method
from umc_cli.response.synthesis_settings import FROM_DEVICES, FROM_LIBRARY, LevelSettings
from umc_cli.response.synthetic_differences import SyntheticDifferences

_MOST_FRAMES = 1 << 22
"""87 s at 48 kHz: what comes later is no impulse response."""

_LOWEST_TRUSTED_HZ = 100.0
"""Of an impulse response that says nothing of itself: where the curves of the library begin."""


@dataclass(frozen=True)
class LearnedResponses:
    """Measured responses."""

    origin: str
    """For people."""
    names: tuple[str, ...]
    """Device ids, or names of files without suffix."""
    responses_db: Responses
    """[n devices, 128], dB re 1 kHz."""
    is_trusted: NDArray[np.bool_]
    """[128]: bands that can be trusted in all of them."""


NO_RESPONSES = LearnedResponses("", (), np.empty((0, N_BANDS)), np.zeros(N_BANDS, bool))
"""For a method that learns nothing."""


def responses_to_learn_from(workspace: Workspace, learn_from: str) -> LearnedResponses:
    """Return responses: of the devices that are known, of the package's library, or of a folder of impulse responses.

    `learn_from`: `devices`, `library`, or a folder of WAV files, of which the first channel is read.

    Raises:
        SettingsError: there is no such folder, it holds no WAV file, or a record or file is broken.
    """
    if learn_from in (FROM_DEVICES, FROM_LIBRARY):
        return _of_registry(DeviceRegistry(workspace.devices if learn_from == FROM_DEVICES else None))
    if not learn_from:
        raise SettingsError(
            "--learn-from names nothing", f"use {FROM_DEVICES}, {FROM_LIBRARY}, or a folder of impulse responses"
        )
    folder = Path(learn_from)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav")
    if not paths:
        problem = "holds no WAV file" if folder.is_dir() else "is not a folder"
        raise SettingsError(
            f"cannot learn from {learn_from!r}: it {problem}",
            f"use {FROM_DEVICES}, {FROM_LIBRARY}, or a folder of impulse responses",
        )
    return LearnedResponses(
        origin=f"impulse responses in {folder}",
        names=tuple(path.stem for path in paths),
        responses_db=np.stack([_impulse_response_db(path) for path in paths]),
        is_trusted=band_centres_hz() >= _LOWEST_TRUSTED_HZ,
    )


def draw_from(
    responses: LearnedResponses, method: str, chosen: Settings, levels: LevelSettings, n: int, seed: int
) -> SyntheticDifferences:
    """Draw a set that says how it was made.

    Raises:
        SettingsError: there are too few devices to learn from.
    """
    sampler = fit_method(method, responses.responses_db, chosen)
    learns = find_method(method).least_devices > 0
    about = {
        "method": method,
        "settings": dump_settings(chosen),
        "levels": dump_settings(levels),
        "learned_from": list(responses.names) if learns else [],
        "learned": sampler.describe(),
        "umc_version": umc_cli.__version__,
    }
    return draw_set(sampler, levels, n, seed, about)


def _of_registry(registry: DeviceRegistry) -> LearnedResponses:
    devices = [registry.get(device_id) for device_id in registry.ids_to_learn_from()]
    centres_hz = band_centres_hz()
    is_trusted = np.ones(len(centres_hz), bool)
    for device in devices:
        if not np.allclose(device.band_centres_hz, centres_hz, rtol=0, atol=0.2):
            raise SettingsError(f"the record of {device.id} is over other mel bands", "make the record again")
        low, high = device.trusted_range_hz
        is_trusted &= (centres_hz >= low) & (centres_hz <= high)
    return LearnedResponses(
        origin=_origin(registry),
        names=tuple(device.id for device in devices),
        responses_db=np.array([device.frequency_response_db for device in devices]).reshape(-1, len(centres_hz)),
        is_trusted=is_trusted,
    )


def _origin(registry: DeviceRegistry) -> str:
    own, chosen = registry.own_ids(), registry.ids_to_learn_from()
    if not own:
        return "the package's library"
    return "the workspace" if chosen == own else "the workspace and the package's library"


def _impulse_response_db(path: Path) -> Responses:
    try:
        read_header(path, may_be_short=True)
        samples, rate_hz = soundfile.read(path, _MOST_FRAMES, always_2d=True)
    except InputError as error:
        raise SettingsError(
            f"cannot read impulse response {path}: it {error.message}", f"remove it or replace it: {error.hint}"
        ) from error
    except (soundfile.LibsndfileError, OSError) as error:
        raise SettingsError(f"cannot read impulse response {path}: {error}", "remove it or replace it") from error
    first_channel = samples[:, 0]
    if not np.isfinite(first_channel).all() or not np.any(first_channel):
        raise SettingsError(f"impulse response {path} is silent or not finite", "remove it or replace it")
    return band_response_db(impulse_response_curve(first_channel, rate_hz))
