"""`recommend`: what comes next."""

from __future__ import annotations

from argparse import Namespace

from twofold.cli import files, output
from twofold.cli.using import as_json, using, write_lists
from twofold.errors import UserError
from twofold.measure.reports.terminal import plain


def recommend(arguments: Namespace) -> None:
    """The items that come next, for each user or history."""
    files.check_ending(arguments.out)
    if arguments.k < 1:
        raise UserError(f"-k is {arguments.k}; give at least 1")
    with using(arguments, "recommend") as model:
        told = []
        for word in arguments.history:
            items = [item.strip() for item in word.split(",") if item.strip()]
            # A word with a comma is a history; so is an item that is no user.
            known = word in model.histories or (len(items) == 1 and word not in model.items)
            told.append(model.recommend(word if known else items, arguments.k, exclude_seen=not arguments.again))
    if arguments.out is not None:
        rows = [
            {"history": word, "items": [{"rank": rank, **vars(each)} for rank, each in enumerate(found, 1)]}
            for word, found in zip(arguments.history, told, strict=True)
        ]
        write_lists(rows, "items", ("history", "rank", "item", "score"), arguments)
    elif arguments.json:
        groups = [
            {"history": word, "items": [vars(each) for each in found]}
            for word, found in zip(arguments.history, told, strict=True)
        ]
        as_json(groups, [])
    else:
        for number, (word, found) in enumerate(zip(arguments.history, told, strict=True)):
            if len(told) > 1:
                print("\n" * (number > 0) + output.style(plain(word), "bold"))
            output.table([(f"{each.score:.3f}", plain(each.item)) for each in found], indent="")
