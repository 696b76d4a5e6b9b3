"""An optimiser's state as named tensors, as a training state stores it, and back; and names with a common beginning."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what the optimiser keeps of every weight, as `<number of the weight>.<entry>`."""
    kept_by_weight = optimiser.state_dict()["state"].items()
    return {f"{weight}.{entry}": value for weight, kept in kept_by_weight for entry, value in kept.items()}


def load_optimiser_tensors(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give the optimiser what `optimiser_tensors` returned; learning rates and the like stay."""
    kept: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        weight, _, entry = name.partition(".")
        kept.setdefault(int(weight), {})[entry] = value
    optimiser.load_state_dict({"state": kept, "param_groups": optimiser.state_dict()["param_groups"]})
    # Files hold all tensors in one layout. In another one than its weight's, a moment costs a GPU a kernel of its own.
    by_weight: Mapping[Any, dict[str, Tensor]] = optimiser.state
    for weight, loaded in by_weight.items():
        for entry, value in loaded.items():
            if value.shape == weight.shape:
                loaded[entry] = torch.empty_like(weight, requires_grad=False).copy_(value)


def under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `name` and a dot before their names."""
    return {f"{name}.{key}": value for key, value in tensors.items()}


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `name` and a dot, without that beginning: what `under` was given."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
