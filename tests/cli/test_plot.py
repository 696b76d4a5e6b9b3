from umc_cli.cli.plot import text_plot


def test_a_flat_curve_is_one_line_at_its_level() -> None:
    lines = text_plot([0.0] * 128, width=64, height=9, unit="dB")
    drawn = [line for line in lines if "█" in line or "▀" in line or "▄" in line]
    assert len(drawn) == 1
    assert drawn[0].count("▀") + drawn[0].count("▄") == 64


def test_a_rising_curve_rises() -> None:
    lines = text_plot([index / 10 for index in range(128)], width=64, height=10, unit="dB")
    assert len(lines) == 10
    first = [min(line.find(mark) for mark in "▀▄" if mark in line) for line in lines]
    assert first == sorted(first, reverse=True)
