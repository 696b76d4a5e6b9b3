import pytest
import torch

from umc_cli.conversion.converter_training.image_buffer import ImageBuffer, swap
from umc_cli.errors import SettingsError

CPU = torch.device("cpu")


def images(*values: int) -> torch.Tensor:
    """Return one image [1, 1] per value."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def test_it_returns_what_it_gets_until_it_is_full() -> None:
    buffer = ImageBuffer(4)
    assert torch.equal(buffer.swap(images(1, 2, 3), torch.Generator()), images(1, 2, 3))
    state = buffer.state()
    assert state is not None
    assert torch.equal(state, images(1, 2, 3))


def test_a_full_buffer_swaps_half_and_loses_nothing() -> None:
    buffer, random = ImageBuffer(50), torch.Generator().manual_seed(0)
    buffer.swap(images(*range(50)), random)
    given = images(*range(50, 2050))
    returned = buffer.swap(given, random)
    assert 0.46 < float((returned == given).float().mean()) < 0.54
    state = buffer.state()
    assert state is not None
    everything = torch.cat([returned, state]).flatten().sort().values
    assert torch.equal(everything, torch.arange(2050.0))


def test_size_zero_keeps_no_history() -> None:
    buffer = ImageBuffer(0)
    assert torch.equal(buffer.swap(images(1, 2), torch.Generator()), images(1, 2))
    assert buffer.state() is None


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    first, second = ImageBuffer(3), ImageBuffer(3)
    random = torch.Generator().manual_seed(1)
    first.swap(images(1, 2, 3, 4, 5), random)
    second.load_state(first.state(), CPU)
    again = torch.Generator()
    again.set_state(random.get_state())
    assert torch.equal(first.swap(images(6, 7, 8, 9), random), second.swap(images(6, 7, 8, 9), again))


def test_a_larger_buffers_state_is_refused() -> None:
    with pytest.raises(SettingsError, match="holds 3 segments, this one 2"):
        ImageBuffer(2).load_state(images(1, 2, 3), CPU)


def test_it_keeps_no_computation_graph() -> None:
    buffer = ImageBuffer(2)
    buffer.swap(images(1, 2).requires_grad_(), torch.Generator())
    state = buffer.state()
    assert state is not None
    assert not state.requires_grad


def one_by_one(
    held: list[list[torch.Tensor]], size: int, given: torch.Tensor, of_buffer: list[int], random: torch.Generator
) -> torch.Tensor:
    """The buffers written out: lists of images, which pass one after another."""
    returned = list(given)
    for number in sorted(set(of_buffer)):
        for row in [row for row, found in enumerate(of_buffer) if found == number]:
            if len(held[number]) < size:
                held[number].append(given[row])
            elif torch.rand((), generator=random) < 0.5:
                place = int(torch.randint(size, (), generator=random))
                returned[row], held[number][place] = held[number][place], given[row]
    return torch.stack(returned)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_several_buffers_swap_at_once_what_they_would_swap_one_by_one(size: int) -> None:
    buffers, held = [ImageBuffer(size) for _ in range(3)], [[] for _ in range(3)]  # type: ignore[var-annotated]
    random, again = (torch.Generator().manual_seed(5) for _ in range(2))
    drawn = torch.Generator().manual_seed(6)
    for turn in range(12):
        given = images(*range(100 * turn, 100 * turn + 9))
        of_buffer = torch.randint(2 if turn < 3 else 3, (9,), generator=drawn).tolist()
        assert torch.equal(swap(buffers, given, of_buffer, random), one_by_one(held, size, given, of_buffer, again))
        for buffer, expected in zip(buffers, held, strict=True):
            state = buffer.state()
            assert (state is None) == (not expected)
            assert state is None or torch.equal(state, torch.stack(expected))
