import math

from twofold.measure.pareto import front


def test_the_front_is_what_nothing_beats_cheapest_first() -> None:
    points = [(0.3, 12.0), (0.2, 1.0), (0.25, 13.0), (0.1, 0.5), (0.3, 11.0)]
    assert front(points) == [3, 1, 4]


def test_equal_points_share_the_front_and_equal_costs_do_not() -> None:
    assert front([(0.5, 1.0), (0.5, 1.0)]) == [0, 1]
    assert front([(0.4, 1.0), (0.5, 1.0)]) == [1]
    assert front([(0.5, 1.0), (0.5, 2.0)]) == [0]


def test_points_without_a_figure_are_on_no_front() -> None:
    assert front([(None, 1.0), (0.5, None), (math.nan, 0.1), (0.1, 3.0)]) == [3]
    assert front([]) == []
