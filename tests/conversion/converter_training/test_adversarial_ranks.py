"""The adversarial training in several processes is that of one process with the same batch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conversion.training_data import TINY, training_devices, training_segments
from tests.forked_umc import Server
from tests.training.processes import run_in_ranks
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.errors import SettingsError
from umc_cli.training.ranks import ONE_PROCESS, Ranks

N_DEVICES = 12
"""Most of which sit idle in a step of six segments."""
SETTINGS = TINY.model_copy(update={"batch_size": 6, "micro_batch_size": 4, "buffer_size": 1, "identity_weight": 0.5})
N_STEPS = 2


def _training(ranks: Ranks) -> AdversarialTraining:
    segments, devices = training_segments(N_DEVICES), training_devices(N_DEVICES)
    return AdversarialTraining(SETTINGS, segments, devices, False, torch.device("cpu"), ranks)


def _train(ranks: Ranks, folder: Path) -> None:
    subject = _training(ranks)
    losses = [subject.step(index) for index in range(N_STEPS)]
    tensors, _ = subject.state()
    table = torch.tensor([[loss[name] for name in sorted(loss)] for loss in losses], dtype=torch.float64)
    save_file({"losses": table, **{name: value.clone() for name, value in tensors.items()}}, folder / f"{ranks.rank}")


def test_two_ranks_do_the_steps_of_one_process(server: Server | None, tmp_path: Path) -> None:
    assert run_in_ranks(server, 2, _train, tmp_path) == [0, 0]
    (tmp_path / "alone").mkdir()
    _train(ONE_PROCESS, tmp_path / "alone")
    first, second, alone = (load_file(tmp_path / name) for name in ("0", "1", "alone/0"))
    assert first.keys() == second.keys() == alone.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.testing.assert_close(first["losses"], alone["losses"], rtol=1e-4, atol=1e-6)
    for name, value in alone.items():
        # Adam's first moments are the gradients. The weights may differ where a gradient is nothing but rounding, as in
        # front of a normalisation: Adam makes a whole step of it.
        if name.endswith(".exp_avg"):
            assert torch.linalg.norm(first[name] - value) <= 1e-3 * torch.linalg.norm(value) + 1e-4, name
        elif name.startswith(("buffer.", "random.", "sampler.")):
            torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-3, msg=name)
    # A discriminator that sat idle all the time has not moved, and Adam knows nothing of it.
    untouched = {name: value for name, value in _training(ONE_PROCESS).state()[0].items() if "discriminators" in name}
    idle = [name for name, value in untouched.items() if torch.equal(first[name], value)]
    assert 0 < len(idle) < len(untouched)
    assert sum("discriminator_optimiser" in name and "exp_avg_sq" in name for name in first) == len(untouched) - len(
        idle
    )


def test_more_ranks_than_segments_are_refused() -> None:
    with pytest.raises(SettingsError, match="3 processes cannot share 2 segments"):
        _training(Ranks(0, 3))
