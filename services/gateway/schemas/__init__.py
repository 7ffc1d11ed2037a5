"""The JSON of the public API. Answers are typed dicts: checked by mypy, shown in OpenAPI, free at run time."""
