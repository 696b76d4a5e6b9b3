import torch

from umc_cli.sec.target_draws import draw_targets


def test_the_draws_of_a_seed_stay_what_they_are() -> None:
    """A training that resumes, or is repeated, converts every sample to the same target."""
    random = torch.Generator().manual_seed(0)
    assert draw_targets(3, 8, random) == [2, 0, 2, 0, 1, 0, 1, 1]
    assert draw_targets(5, 4, random) == [2, 3, 1, 1]
