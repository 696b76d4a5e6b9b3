"""What every trained network has as a checkpoint: its kind, the spectrograms it was made for, checked weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from umc_cli import __version__
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from umc_cli.config import dump_settings
from umc_cli.errors import SettingsError
from umc_cli.wrong_settings import first_fault

SettingsT = TypeVar("SettingsT", bound=BaseModel)
NetworkT = TypeVar("NetworkT", bound=nn.Module)


def write_network(
    path: Path, kind: str, network: nn.Module, metadata: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write a network's weights and metadata (plain JSON values), all or nothing.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    header = {"kind": kind, "umc_version": __version__, "log_mel": dump_settings(LOG_MEL_SETTINGS), **metadata}
    write_checkpoint(path, {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}, header)


def read_network(path: Path, kind: str) -> Checkpoint:
    """Read a checkpoint of a kind.

    Raises:
        SettingsError: see `read_checkpoint`; or it holds another kind, or was made for other log-mel spectrograms.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.metadata.get("kind") != kind:
        raise SettingsError(
            f"checkpoint {path} holds a {checkpoint.metadata.get('kind')!r}, not a {kind}",
            f"give weights that the training of a {kind} wrote, such as the best.safetensors of its run",
        )
    _check_log_mel(path, checkpoint.metadata.get("log_mel"))
    return checkpoint


def stored_settings(path: Path, checkpoint: Checkpoint, schema: type[SettingsT], key: str) -> SettingsT:
    """Return settings from a checkpoint's header.

    Raises:
        SettingsError: they are not of this version's schema.
    """
    try:
        return schema.model_validate(checkpoint.metadata.get(key))
    except ValidationError as error:
        raise SettingsError(
            f"checkpoint {path} has settings that this umc does not know: {first_fault(error)}",
            f"it was written by umc {checkpoint.metadata.get('umc_version')}; update umc",
        ) from error


class _Uninitialised(TorchFunctionMode):
    """Draws no normal numbers: for tensors without memory torch would load sympy and a thousand modules to do it."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if function in (nn.init.normal_, Tensor.normal_):
            return args[0] if args else given["tensor"]
        return function(*args, **given)


def build_network(path: Path, checkpoint: Checkpoint, build: Callable[[], NetworkT]) -> NetworkT:
    """Return the stored network, ready for inference, in fp32 on the CPU; `build` makes one of its stored size.

    Raises:
        SettingsError: weights are missing, unknown, misshapen or not finite.
    """
    # Without memory first: a header may claim any size.
    with torch.device("meta"), _Uninitialised():
        claimed = build()
    _check_tensors(path, checkpoint, claimed)
    network = build()
    load_weights(path, checkpoint, network)
    return network


def load_weights(path: Path, checkpoint: Checkpoint, network: nn.Module) -> None:
    """Put the stored weights into `network` and make it ready for inference, in fp32 on the CPU.

    Raises:
        SettingsError: weights are missing, unknown, misshapen or not finite.
    """
    _check_tensors(path, checkpoint, network)
    network.load_state_dict(checkpoint.tensors)
    network.requires_grad_(False).eval()


def _check_log_mel(path: Path, stored: object) -> None:
    wanted = dump_settings(LOG_MEL_SETTINGS)
    found = stored if isinstance(stored, dict) else {}
    differing = [name for name in sorted(wanted | found) if wanted.get(name) != found.get(name)]
    if differing:
        details = ", ".join(f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}" for name in differing)
        raise SettingsError(
            f"checkpoint {path} was trained on other log-mel spectrograms: {details}",
            "use a checkpoint that was trained with this version's log-mel settings, or train it again",
        )


def _check_tensors(path: Path, checkpoint: Checkpoint, network: nn.Module) -> None:
    remedy = "copy or download the checkpoint again, or train it again"
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    for name in sorted(wanted | found):
        if name not in found:
            raise SettingsError(f"checkpoint {path} lacks the tensor {name!r}", remedy)
        if name not in wanted:
            raise SettingsError(f"checkpoint {path} holds an unknown tensor {name!r}", remedy)
        if found[name] != wanted[name]:
            raise SettingsError(f"checkpoint {path}: {name!r} is {found[name]} and must be {wanted[name]}", remedy)
        if not torch.isfinite(checkpoint.tensors[name]).all():
            raise SettingsError(f"checkpoint {path}: {name!r} holds values that are not finite", remedy)
