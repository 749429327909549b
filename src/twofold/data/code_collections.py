"""Copies of public code search collections: from their own columns to queries and documents."""

from __future__ import annotations

from twofold.data.python_source import without_docstring
from twofold.data.rows import Rows

QUERIES = ("query", "doc", "docstring")
"""What collections call the question, likeliest first."""


def code_search(rows: Rows) -> Rows:
    """Rows with `query` and `document` (and `grade`, `group`, `split`) from those of CodeSearchNet, CoSQA or CoSQA+.

    CodeSearchNet has `docstring` and `code`: the query is the docstring's first paragraph, the document the code
    without it; `repo` is the group and `partition` the split. CoSQA has `doc`, `code` and `label`, CoSQA+ `query`,
    `code` and `label`: the label is the grade, and a query may have several answers. What has a column `document`, or
    none that is called `code`, is given back as it is.

    Husain et al. 2019, https://arxiv.org/abs/1909.09436; Huang et al. 2021, https://arxiv.org/abs/2105.13239;
    Gong et al. 2024, https://arxiv.org/abs/2406.11589
    """
    known = rows.columns
    asked = next((name for name in QUERIES if name in known), None)
    if "document" in known or "code" not in known or asked is None:
        return rows
    queries, codes = [str(text or "") for text in known[asked]], [str(text or "") for text in known["code"]]
    if asked == "docstring":
        codes = [_bare(code, query) for code, query in zip(codes, queries, strict=True)]
        queries = [" ".join(query.strip().split("\n\n")[0].split()) for query in queries]
    columns = {"query": queries, "document": codes}
    for wanted, given in (("grade", "label"), ("group", "repo"), ("split", "partition"), ("name", "func_name")):
        if given in known:
            columns[wanted] = known[given]
    prefix = rows.fingerprint.rpartition("-")[0] or "sha256"
    return Rows.of(columns, name=rows.name, source=rows.source, splits=rows.splits, prefix=prefix)


def _bare(code: str, docstring: str) -> str:
    """Code without its docstring; of another language, or another Python's, without that text where it stands so."""
    found = without_docstring(code)
    return code.replace(docstring, "") if found is None else found
