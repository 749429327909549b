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
    )
    if arguments.json:
        said = {"documents": len(made), "segments": len(made.segments), "bytes": made.nbytes}
        return output.as_json({"out": arguments.out, "model": made.built_by, **said})
    each = made.nbytes / max(1, sum(map(len, made.segments)))
    print(f"{arguments.out}: {len(made):,} documents, indexed by {made.built_by}, {each:,.0f} bytes each")
    print(f'Search it: twofold search {arguments.out} "what you look for"')
