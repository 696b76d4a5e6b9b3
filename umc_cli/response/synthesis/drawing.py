"""Draw invented differences: on the fly for a training loop, or a reproducible set with noise floors."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import ValidationError

from umc_cli.config import Settings
from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.response.device import N_BANDS, DeviceRegistry
from umc_cli.response.synthesis import METHODS
from umc_cli.response.synthesis.contract import Differences, MethodSpec, Responses, Sampler
from umc_cli.response.synthesis.levels import draw_noise_floors, draw_sensitivity_differences
from umc_cli.response.synthesis_settings import LevelSettings
from umc_cli.response.synthetic_differences import SyntheticDifferences
from umc_cli.wrong_settings import first_fault

_BLOCK = 1024
"""Differences drawn at once: half a megabyte, which fits a processor's cache."""

MOST = 1_000_000
"""A set of as many takes 1 GB, and nearly 4 GB at most while it is summed up and written."""


def find_method(name: str) -> MethodSpec:
    """Return a method by its name.

    Raises:
        SettingsError: there is none of that name.
    """
    if name not in METHODS:
        raise SettingsError(f"unknown method {name!r}", did_you_mean(name, METHODS, "methods"))
    return METHODS[name]


def method_settings(name: str, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a method: its defaults and what is given.

    Raises:
        SettingsError: the method or a setting is unknown, or a value is not allowed.
    """
    schema = find_method(name).settings
    try:
        return schema.model_validate(dict(given))
    except ValidationError as error:
        raise SettingsError(
            f"method {name}: setting {first_fault(error)}", f"its settings: {', '.join(schema.model_fields)}"
        ) from error


def fit_method(name: str, responses_db: Responses, settings: Settings | None = None) -> Sampler:
    """Let a method learn from measured responses, [n devices, 128] in dB.

    Raises:
        SettingsError: the method is unknown, or there are fewer devices than it learns from at the least.
    """
    method = find_method(name)
    if len(responses_db) < method.least_devices:
        raise SettingsError(
            f"method {name} learns from {method.least_devices} or more measured devices; there are {len(responses_db)}",
            "measure more devices, learn from the package's (umc synth-fr --learn-from library), or use --method "
            "piecewise, which learns nothing",
        )
    return method.fit(responses_db, settings or method.settings())


def library_responses_db() -> Responses:
    """Return the responses of the package's library, [n devices, 128] in dB, by id."""
    return np.array([device.frequency_response_db for device in DeviceRegistry()])


@lru_cache(maxsize=len(METHODS))
def _library_sampler(name: str) -> Sampler:
    return fit_method(name, library_responses_db())


def draw_differences(method: str, n: int, random: np.random.Generator) -> Differences:
    """Draw differences on the fly, as a training loop wants them: default settings, learned from the library.

    Shape: [n, 128], dB, target minus source. What to learn from and other settings: `fit_method`, whose result draws.

    Raises:
        SettingsError: the method is unknown, or n is not 1 to a million.
    """
    find_method(method)
    sampler = _library_sampler(method)
    check_number(n)
    differences_db = np.empty((n, N_BANDS), np.float32)
    for first in range(0, n, _BLOCK):
        rows = differences_db[first : first + _BLOCK]
        rows[:] = sampler.draw(len(rows), random)
    return differences_db


def check_number(n: int) -> None:
    """Refuse to draw nothing, or more than fits into memory.

    Raises:
        SettingsError: n is below 1 or above a million.
    """
    if not 1 <= n <= MOST:
        raise SettingsError(f"cannot draw {n} differences", f"ask for 1 to {MOST:,}")


def draw_set(
    sampler: Sampler, levels: LevelSettings, n: int, seed: int, about: Mapping[str, Any]
) -> SyntheticDifferences:
    """Draw `n` differences with noise floors and sensitivity differences.

    Row i depends on the seed and on i alone, so that a larger set begins with the smaller one. `about` says how they
    were made.

    Raises:
        SettingsError: n is not 1 to a million.
    """
    check_number(n)
    differences_db = np.empty((n, N_BANDS), np.float32)
    floors_db = np.empty((n, N_BANDS), np.float32)
    sensitivity_db = np.empty(n, np.float32)
    for block, first in enumerate(range(0, n, _BLOCK)):
        rows = slice(first, min(first + _BLOCK, n))
        wanted = rows.stop - rows.start
        # Always whole blocks, each with its own generator: what comes first does not depend on n.
        random = np.random.default_rng((seed, block))
        differences_db[rows] = sampler.draw(_BLOCK, random)[:wanted]
        floors_db[rows] = draw_noise_floors(_BLOCK, levels, random)[:wanted]
        sensitivity_db[rows] = draw_sensitivity_differences(_BLOCK, levels, random)[:wanted]
    return SyntheticDifferences(differences_db, floors_db, sensitivity_db, dict(about) | {"seed": seed})
