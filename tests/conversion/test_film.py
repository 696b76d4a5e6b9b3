import torch

from tests.conversion.generators import small_generator, tilt_db
from umc_cli.conversion.film import FilmEncoder


def gamma_and_beta(preset: str, fr_difference_db: torch.Tensor) -> torch.Tensor:
    """Return both, one after the other. Shape: [1, 2 * 32]."""
    return torch.cat(small_generator(preset).film_encoder(fr_difference_db), dim=1)


def relative_change(preset: str, one: torch.Tensor, other: torch.Tensor) -> float:
    """Return how far the conditions of two differences lie apart, against the reach of the whole condition."""
    first, second = gamma_and_beta(preset, one), gamma_and_beta(preset, other)
    reach = first - gamma_and_beta(preset, -one)
    return float((first - second).norm() / reach.norm())


def test_the_papers_encoder_is_blind_to_the_size_of_the_difference() -> None:
    assert relative_change("paper", tilt_db(3), tilt_db(12)) < 0.02


def test_the_papers_encoder_sees_a_level_beside_a_shape_through_its_zero_padding() -> None:
    for level_db, least in ((3.0, 0.1), (10.0, 0.2)):
        assert relative_change("paper", tilt_db(6), tilt_db(6) + level_db) > least


def test_of_a_constant_alone_the_papers_encoder_sees_that_it_is_there() -> None:
    """Without a shape beside it, 3 dB look like 12 dB: the norms take the size off what the borders show."""
    assert relative_change("paper", torch.full((1, 128), 3.0), torch.full((1, 128), 12.0)) < 0.05


def test_the_sized_encoder_tells_them_apart() -> None:
    assert relative_change("level_aware", tilt_db(3), tilt_db(12)) > 0.2
    assert relative_change("level_aware", torch.full((1, 128), 3.0), torch.full((1, 128), 12.0)) > 0.2


def test_both_tell_shapes_apart() -> None:
    for preset in ("paper", "level_aware"):
        assert relative_change(preset, tilt_db(6), tilt_db(6).square() / 3) > 0.2


def test_one_gamma_and_one_beta_per_channel_and_difference() -> None:
    gamma, beta = small_generator().film_encoder(torch.randn(5, 128))
    assert gamma.shape == beta.shape == (5, 32)


def test_none_is_no_condition_and_has_no_weights() -> None:
    encoder = FilmEncoder("none", n_channels=6, widths=(4, 4, 4), kernel=3, hidden=8)
    gamma, beta = encoder(torch.randn(2, 128))
    assert torch.equal(gamma, torch.ones(2, 6))
    assert torch.equal(beta, torch.zeros(2, 6))
    assert not list(encoder.parameters())
