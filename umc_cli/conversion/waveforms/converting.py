"""Waveforms through a converter: one, of any shape; and the segments that it asks for."""

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.files import HIGHEST_SAMPLE_RATE_HZ, LOWEST_SAMPLE_RATE_HZ
from umc_cli.conversion.converters.contract import Converter, Ingredients
from umc_cli.conversion.waveforms.blending import ConvertSegments
from umc_cli.conversion.waveforms.known_target import known_target
from umc_cli.conversion.waveforms.stream import Samples, convert_blocks
from umc_cli.errors import InputError, SettingsError

_SEGMENTS_AT_ONCE = 32


def converts_segments(converter: Converter, name: str, device: torch.device) -> ConvertSegments:
    """Return the function that converts segments with `converter`, for one thread at a time.

    It raises SettingsError where the converter gives levels that are not finite.
    """
    alone = threading.Lock()

    def convert(segments: Tensor, targets: Sequence[str]) -> Mapping[str, Tensor]:
        parts: dict[str, list[Tensor]] = {target: [] for target in targets}
        with alone, torch.no_grad():
            for batch in torch.split(segments, _SEGMENTS_AT_ONCE):
                begun = converter.begin(batch.to(device))
                for target in targets:
                    parts[target].append(converter.convert(begun, target).float().cpu())
        results = {target: torch.cat(converted) for target, converted in parts.items()}
        for target, levels_db in results.items():
            if not bool(levels_db.isfinite().all()):
                raise SettingsError(
                    f"converter {name} gave levels for {target} that are not finite: NaN or infinity",
                    "use another --converter, or other weights; with --precision fp16, try fp32",
                )
        return results

    return convert


def convert_waveform(
    samples: NDArray[np.float32] | Tensor,
    sample_rate: int,
    target: str,
    ingredients: Ingredients,
    built: Callable[[], Converter],
    name: str,
    seed: int,
) -> Samples:
    """Return what `target` would have recorded. Shape: [n] or [channels, n] float32, full scale 1 -> the same.

    `built`: gives the converter `name`. Channels are converted each on its own, with noise of its own.

    Raises:
        InputError: the waveform is empty or not finite, has another shape, or the rate is absurd.
        SettingsError: the conversion has no such target, or its converter gave levels that are not finite.
    """
    given = np.asarray(samples, dtype=np.float32)
    if given.ndim not in (1, 2) or not given.size:
        raise InputError(f"a waveform of shape {list(given.shape)} is not [n] or [channels, n]", "give samples")
    if not LOWEST_SAMPLE_RATE_HZ <= sample_rate <= HIGHEST_SAMPLE_RATE_HZ:
        raise InputError(
            f"a sample rate of {sample_rate} Hz cannot be right",
            f"give {LOWEST_SAMPLE_RATE_HZ} to {HIGHEST_SAMPLE_RATE_HZ} Hz",
        )
    if not np.isfinite(given).all():
        raise InputError("the waveform holds values that are not finite", "look at how it was made")
    if target not in ingredients.targets:
        raise SettingsError(
            f"the conversion has no target {target!r}", f"its targets are: {', '.join(ingredients.targets)}"
        )
    convert = converts_segments(built(), name, torch.device(ingredients.torch_device))
    known = {target: known_target(ingredients, target)}
    result = np.empty_like(given)
    channels = given.reshape(-1, given.shape[-1])
    for number, (channel, place) in enumerate(zip(channels, result.reshape(channels.shape), strict=True)):
        parts = convert_blocks([channel], sample_rate, convert, known, noise_seed(seed, number))
        place[:] = np.concatenate([part[target] for part in parts])
    return result


def noise_seed(seed: int, channel: int) -> np.random.SeedSequence:
    """Return the seed of a channel's noise."""
    return np.random.SeedSequence([seed, channel])
