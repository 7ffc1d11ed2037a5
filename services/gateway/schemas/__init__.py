"""The JSON of the public API. Responses are typed dicts: checked by mypy, shown in OpenAPI, free at run time."""
