import torch

from umc_cli.conversion.converter_training.discriminator import Discriminator, Discriminators


def bank(n_devices: int = 3, ndf: int = 4) -> Discriminators:
    torch.manual_seed(0)
    return Discriminators(n_devices, ndf)


def test_it_has_the_size_of_cyclegans_network() -> None:
    """(4*4*1 + 1) * 64 + (4*4*64 + 1) * 128 + 4*4*128 + 1 weights."""
    assert sum(weight.numel() for weight in Discriminator(64).parameters()) == 134_337


def test_a_score_sees_16_x_16_values() -> None:
    """Without the InstanceNorm, which sees everything, the gradient of one score covers 16 x 16 inputs."""
    network = Discriminator(4)
    network.layers[3] = torch.nn.Identity()
    spectrogram = torch.randn(1, 80, 80, requires_grad=True)
    scores = network(spectrogram)
    assert scores.shape == (1, 38, 38)
    scores[0, 19, 19].backward()
    assert spectrogram.grad is not None
    rows, columns = spectrogram.grad[0].abs().nonzero().T
    assert int(rows.max() - rows.min()) + 1 == int(columns.max() - columns.min()) + 1 == 16


def test_the_bank_equals_separate_networks() -> None:
    networks = bank()
    segments, devices = torch.randn(5, 80, 80), [2, 0, 2, 1, 0]
    expected = torch.cat(
        [networks.of_device[device](segment[None]) for segment, device in zip(segments, devices, strict=True)]
    )
    torch.testing.assert_close(networks(segments, devices), expected, atol=1e-6, rtol=1e-5)


def test_an_idle_device_keeps_its_weights_in_spite_of_momentum() -> None:
    networks = bank()
    optimiser = torch.optim.Adam(networks.parameters(), lr=1e-2)

    def step(devices: list[int]) -> None:
        optimiser.zero_grad()
        networks(torch.randn(len(devices), 80, 80), devices).square().mean().backward()
        optimiser.step()

    def weights(device: int) -> list[torch.Tensor]:
        return [weight.detach().clone() for weight in networks.of_device[device].parameters()]

    step([0, 1, 2])
    before = [weights(device) for device in range(3)]
    step([0, 2])
    moved = [
        any((now != then).any() for now, then in zip(weights(device), before[device], strict=True))
        for device in range(3)
    ]
    assert moved == [True, False, True]
