"""`index`: documents made searchable."""

from __future__ import annotations

from argparse import Namespace

from twofold import api
from twofold.cli import output
from twofold.cli.values import columns


def index(arguments: Namespace) -> None:
    """Builds, adds or removes, and says what the index holds then."""
    made = api.index(
        arguments.data,
        arguments.model,
        arguments.out,
        add=arguments.add,
        remove=arguments.remove,
        columns=columns(arguments.columns),
        device=arguments.device,
        dtype=arguments.dtype,
        fresh=arguments.fresh,
        engine=arguments.engine,
    )
    facts = made.facts()
    if arguments.json:
        return output.as_json({"out": arguments.out, "model": made.built_by, **facts})
    each = f", {facts['bytes_each']:,.0f} bytes each" if "bytes_each" in facts else ""
    print(f"{arguments.out}: {facts['documents']:,} documents, indexed by {made.built_by}{each}")
    where = "" if arguments.engine is None else f" --engine {arguments.engine}"
    print(f'Search it: twofold search {arguments.out} "what you look for"{where}')
