"""Several processes train what one would: shares, sums, and what happens when one of them ends."""

import os
from pathlib import Path

import pytest
import torch

from tests.forked_umc import Server
from tests.training.processes import run_in_ranks
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.training.ranks import ONE_PROCESS, Ranks, joined, reader_threads
from umc_cli.training.torchrun import is_first_process, refuse_several


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_are_all_rows_once_and_differ_by_one_at_the_most(count: int) -> None:
    for n in range(20):
        shares = [list(range(n))[Ranks(rank, count).share(n)] for rank in range(count)]
        assert [row for share in shares for row in share] == list(range(n))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_computes_alone() -> None:
    values = torch.tensor([1.0, 2.0])
    assert ONE_PROCESS.sum(values) is values
    assert ONE_PROCESS.whole(values, 2) is values
    assert ONE_PROCESS.any(True)
    assert not ONE_PROCESS.any(False)
    assert is_first_process()
    with joined("cpu") as (ranks, device):
        assert (ranks, device) == (ONE_PROCESS, torch.device("cpu"))


def _sum_and_note(ranks: Ranks, folder: Path) -> None:
    assert torch.equal(ranks.sum(torch.tensor([ranks.rank + 1.0])), torch.tensor([6.0]))
    assert ranks.any(ranks.rank == 1)
    assert not ranks.any(False)
    # Seven rows among three ranks: two, two, three.
    rows = torch.arange(14.0).reshape(7, 2)
    assert torch.equal(ranks.whole(rows[ranks.share(7)], 7), rows)
    # Used by all, by one, by none.
    weights = [torch.zeros(2, requires_grad=True) for _ in range(3)]
    weights[0].grad = torch.full((2,), float(ranks.rank))
    if ranks.rank == 2:
        weights[1].grad = torch.tensor([5.0, -5.0])
    ranks.sum_gradients(weights)
    assert torch.equal(weights[0].grad, torch.tensor([3.0, 3.0]))
    assert torch.equal(weights[1].grad, torch.tensor([5.0, -5.0]))
    assert weights[2].grad is None
    with ranks.first_then_others():
        if ranks.is_first:
            (folder / "made").touch()
        assert (folder / "made").exists()
    (folder / str(ranks.rank)).touch()


def test_three_ranks_add_what_they_have(server: Server | None, tmp_path: Path) -> None:
    assert run_in_ranks(server, 3, _sum_and_note, tmp_path) == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "made"]


def _end_early(ranks: Ranks, folder: Path) -> None:
    if ranks.rank == 1:
        os._exit(9)
    try:
        ranks.sum(torch.zeros(1))
    except EnvironmentFault as error:
        (folder / "message").write_text(error.message)


def test_a_rank_that_ends_does_not_leave_the_others_waiting(server: Server | None, tmp_path: Path) -> None:
    codes = run_in_ranks(server, 2, _end_early, tmp_path)
    assert codes == [0, 9]
    assert (tmp_path / "message").read_text() == "another process of this training has ended"


def test_what_works_in_one_process_only_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_several("umc train --pretrain")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="umc train --pretrain works in one process only"):
        refuse_several("umc train --pretrain")


def test_processes_that_do_not_find_each_other_end_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EnvironmentFault, match="cannot reach each other"), joined("cpu"):
        pass


def test_a_launcher_that_does_not_number_the_gpus_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SettingsError, match="LOCAL_RANK is not set"), joined("cuda"):
        pass
    monkeypatch.setenv("LOCAL_RANK", "first")
    with pytest.raises(SettingsError, match="LOCAL_RANK is 'first', not a number"), joined("cuda"):
        pass


def test_a_gpu_that_fails_is_not_another_process_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    with pytest.raises(EnvironmentFault, match="the GPU's memory is not enough"):
        Ranks(0, 2).sum(torch.zeros(1))


def test_one_thread_for_arithmetic_does_not_leave_one_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun sets OMP_NUM_THREADS to 1 for each of several processes; the first one reads for all."""
    monkeypatch.setattr("umc_cli.runtime.processor_count", lambda: 16)
    monkeypatch.setattr("umc_cli.training.ranks.processor_count", lambda: 16)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert reader_threads() == 1
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert reader_threads() == 16
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert reader_threads() == 4
