"""Rows of a table by the code that they were made with."""

from __future__ import annotations

from collections.abc import Iterable


def by_revision(rows: Iterable[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Rows by revision, in the order of the table: figures of two are never added up.

    What was changed and not committed (`-dirty`) counts as one more.

    >>> by_revision([{"revision": "a", "n": "1"}, {"revision": "a-dirty", "n": "2"}])["a"]
    [{'revision': 'a', 'n': '1'}]
    """
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(row["revision"], []).append(row)
    return found
