"""Made histories: what people take, one thing after another, drifting between groups of things that go together."""

from __future__ import annotations

import numpy as np

from twofold.data.rows import Rows

PAIRS = 2  # items of a group that follow a pair of others


def histories(
    users: int = 1500,
    items: int = 400,
    groups: int = 40,
    shortest: int = 20,
    longest: int = 50,
    stay: float = 0.8,
    follow: float = 0.6,
    seed: int = 0,
) -> Rows:
    """Rows `user`, `item`, `time`, in the order of time.

    A user stays with the items of a group and takes them in any order, none twice, or drifts to one of the two groups
    beside it. The last two items of every group are only taken once both of two others of the group have been among
    the user's last six, and then often at once: which ones come next is told by pairs, not by the last item.

    Args:
        users, items, groups: how many; items are spread evenly over the groups.
        shortest, longest: events of a user.
        stay: how likely the next item is of the same group.
        follow: how likely an item that follows a pair is taken when it may be.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    size = items // groups
    plain = size - PAIRS
    # The two items that each follower waits for.
    waits = np.array([[random.permutation(plain)[:2] for _ in range(PAIRS)] for _ in range(groups)])
    rows: dict[str, list[str]] = {"user": [], "item": [], "time": []}
    for user in range(users):
        group = int(random.integers(groups))
        taken: list[int] = []
        for time in range(int(random.integers(shortest, longest + 1))):
            free = [i for i in range(plain) if group * size + i not in taken]
            while random.random() > stay or not free:
                group = (group + int(random.choice((-1, 1)))) % groups
                free = [i for i in range(plain) if group * size + i not in taken]
            recent = {item - group * size for item in taken[-6:]}
            ready = [
                plain + n
                for n in range(PAIRS)
                if group * size + plain + n not in taken and recent.issuperset(waits[group, n].tolist())
            ]
            among = ready if ready and random.random() < follow else free
            item = group * size + among[int(random.integers(len(among)))]
            taken.append(item)
            rows["user"].append(f"u{user}")
            rows["item"].append(f"i{item}")
            rows["time"].append(str(time))
    return Rows.of(rows, name="histories", source="made", prefix=f"made-{seed}")
