"""Shapes written as annotations are checked while the tests run."""

from jaxtyping import install_import_hook

# Before anything imports the parts; the checker itself is only loaded together with them.
install_import_hook("twofold.parts", "beartype.beartype")
