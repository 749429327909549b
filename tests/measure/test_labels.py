import itertools
import random

from twofold.measure.reports.labels import Box, place, spread

SHEET = Box(0, 0, 760, 400)


def overlap(boxes: list[Box]) -> float:
    return max((a.shared(b) for a, b in itertools.combinations(boxes, 2)), default=0)


def test_names_of_a_crowd_do_not_touch_and_stay_inside() -> None:
    generator = random.Random(0)
    points = [(generator.uniform(300, 420), generator.uniform(150, 230)) for _ in range(10)]
    sizes = [(generator.uniform(40, 150), 15.0) for _ in points]
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    places = place(points, sizes, marks, SHEET)
    boxes = [p.box for p in places]
    assert overlap(boxes) == 0
    assert all(b.inside(SHEET) for b in boxes)
    assert max(b.shared(m) for b in boxes for m in marks) < 20
    assert places == place(points, sizes, marks, SHEET)


def test_a_lone_name_stands_beside_its_point() -> None:
    (found,) = place([(100.0, 100.0)], [(60.0, 14.0)], [Box(93, 93, 107, 107)], SHEET)
    assert not found.joined
    assert found.box.left == 108
    assert found.box.bottom + 7 == 100


def test_at_the_edge_it_goes_to_the_other_side() -> None:
    (found,) = place([(750.0, 390.0)], [(60.0, 14.0)], [], SHEET)
    assert found.box.inside(SHEET)
    assert found.box.right < 750


def test_spread_keeps_what_fits_and_parts_what_touches() -> None:
    assert spread([10, 50, 90], [10, 10, 10], 0, 100) == [10, 50, 90]
    assert spread([50, 50, 50], [10, 10, 10], 0, 100) == [40, 50, 60]
    assert spread([99, 100], [10, 10], 0, 100) == [85, 95]
    assert spread([1, 0], [10, 10], 0, 100) == [15, 5]
    assert spread([], [], 0, 100) == []


def test_spread_never_lets_labels_touch() -> None:
    generator = random.Random(1)
    for _ in range(50):
        n = generator.randint(1, 8)
        wanted = [generator.uniform(0, 200) for _ in range(n)]
        heights = [generator.uniform(8, 20) for _ in range(n)]
        middles = spread(wanted, heights, 0, 200)
        order = sorted(range(n), key=lambda i: middles[i])
        assert order == sorted(range(n), key=lambda i: (wanted[i], i))
        for a, b in itertools.pairwise(order):
            assert middles[b] - middles[a] >= (heights[a] + heights[b]) / 2 - 1e-6
        assert all(m - h / 2 + 1e-6 >= 0 and m + h / 2 <= 200 + 1e-6 for m, h in zip(middles, heights, strict=True))
