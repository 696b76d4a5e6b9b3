"""A classifier trained in several processes takes the steps of one process with the same batch."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tests.forked_umc import Server
from tests.training.processes import run_in_ranks
from umc_cli.sec.batch_norm import normalise_over_ranks
from umc_cli.sec.classifier_training import sec_step
from umc_cli.sec.dataset import SecSegments, TrainingBatches, class_weights
from umc_cli.sec.method_parts import SampleAlterations
from umc_cli.sec.network import SecNetwork
from umc_cli.training.ranks import ONE_PROCESS, Ranks

N, BATCH, N_CLASSES = 13, 8, 3
"""The second batch has five segments: two for the first rank, three for the other."""


class Unaltered:
    """A conversion that changes nothing, to see that samples are counted."""

    def __call__(self, log_mel: torch.Tensor, rows: np.ndarray, random: torch.Generator) -> torch.Tensor:
        return log_mel


def _batches(ranks: Ranks, n: int = N) -> TrainingBatches:
    random = np.random.default_rng(0)
    segments = SecSegments(random.normal(-50, 10, (n, 80, 80)).astype(np.float16), np.arange(n) ** 2 % N_CLASSES)
    return TrainingBatches(segments, N_CLASSES, BATCH, 0, SampleAlterations(), Unaltered(), 1.0, ranks)


def _train(ranks: Ranks, folder: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6400, N_CLASSES))
    optimiser = torch.optim.SGD(network.parameters(), 1e-5)
    batches = _batches(ranks)
    weights = class_weights(batches.segments.label, N_CLASSES)
    rows = [sec_step(network, optimiser, batches.get(index), weights, None, index, ranks) for index in range(4)]
    losses = torch.tensor([[row[name] for name in sorted(row)] for row in rows], dtype=torch.float64)
    save_file({"losses": losses, **network.state_dict()}, folder / f"{ranks.rank}")


def _gradients_with_batch_norm(ranks: Ranks, folder: Path) -> None:
    torch.manual_seed(0)
    network = SecNetwork("cnn", N_CLASSES, -50.0, 10.0)
    normalise_over_ranks(network, ranks)
    optimiser = torch.optim.SGD(network.parameters(), 0.0)
    for index in range(2):
        sec_step(network, optimiser, _batches(ranks).get(index), None, None, index, ranks)
    gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    save_file(gradients | dict(network.named_buffers()), folder / f"{ranks.rank}")


def test_batch_normalisation_is_over_all_ranks(server: Server | None, tmp_path: Path) -> None:
    assert run_in_ranks(server, 2, _gradients_with_batch_norm, tmp_path) == [0, 0]
    (tmp_path / "alone").mkdir()
    _gradients_with_batch_norm(ONE_PROCESS, tmp_path / "alone")
    first, alone = (load_file(tmp_path / name) for name in ("0", "alone/0"))
    assert any(name.endswith("running_var") for name in alone)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_two_ranks_do_the_steps_of_one_process(server: Server | None, tmp_path: Path) -> None:
    assert run_in_ranks(server, 2, _train, tmp_path) == [0, 0]
    (tmp_path / "alone").mkdir()
    _train(ONE_PROCESS, tmp_path / "alone")
    first, second, alone = (load_file(tmp_path / name) for name in ("0", "1", "alone/0"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-7, msg=name)


def test_each_rank_has_a_segment_at_least_and_a_random_stream_of_its_own() -> None:
    parts = [_batches(Ranks(rank, 4), n=9) for rank in range(4)]
    last = [part.get(1) for part in parts]  # one segment is left, and four are needed
    assert [len(batch.targets) for batch in last] == [1, 1, 1, 1]
    assert [batch.share for batch in last] == [0.25] * 4
    assert parts[0].n_seen(2) == 12
    whole = _batches(ONE_PROCESS, n=9)
    assert (len(whole.get(1).targets), whole.n_seen(2)) == (2, 10)
    shares = torch.cat([part.get(0).log_mel for part in parts])
    assert torch.equal(shares, whole.get(0).log_mel)
