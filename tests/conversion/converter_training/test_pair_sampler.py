from collections import Counter

from umc_cli.conversion.converter_training.pair_sampler import PairSampler


def test_pairs_are_ordered_different_and_all_equally_likely() -> None:
    drawn = PairSampler([5, 5, 5], seed=0).draw(6000)
    assert len(drawn.own) == len(drawn.rows) == len(drawn.other) == 12_000
    assert drawn.own[6000:] == drawn.other[:6000]
    assert drawn.other[6000:] == drawn.own[:6000]
    counts = Counter(zip(drawn.own[:6000], drawn.other[:6000], strict=True))
    assert set(counts) == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert all(900 < count < 1100 for count in counts.values())


def test_no_segment_comes_again_before_all_have_come() -> None:
    drawn = PairSampler([4, 7], seed=0).draw(28)
    for device, count in ((0, 4), (1, 7)):
        rows = [row for own, row in zip(drawn.own, drawn.rows, strict=True) if own == device]
        for first in range(0, 28, count):
            assert sorted(rows[first : first + count]) == list(range(count))


def test_it_goes_on_from_its_state() -> None:
    first, second = PairSampler([4, 7, 5], seed=0), PairSampler([4, 7, 5], seed=99)
    first.draw(9)
    second.load_state(*first.state())
    assert first.draw(50) == second.draw(50)
