"""Searches that links of the console make (docs/search.md)."""

from services.console.gateway.client import Json


def label_search(label: Json) -> str:
    """Return the search for a label: by its name, or by its id where the name has a quotation mark.

    Nothing stands for a quotation mark between two of them.
    """
    value = label["id"] if '"' in label["name"] else label["name"]
    return f'label:"{value}"'
