"""Wrong fields of a request in sentences of our own: pydantic's wording changes with its version."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.gateway.schemas.problems import FieldError

# Our own errors (PydanticCustomError) have types that begin so, and sentences that are shown as they are.
OWN = "mailroom."

_A_WHOLE_NUMBER = "must be a whole number"
_TRUE_OR_FALSE = "must be true or false"
_A_TIME = "must be a time (RFC 3339) or a day"
_A_UUID = "must be a UUID"
_AN_OBJECT = "must be a JSON object"
# By type of error. Source: pydantic's list of validation errors.
_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    # strict_input's own.
    "doubled": "must be given once",
    "string_type": "must be a string",
    "string_unicode": "must be UTF-8",
    "string_too_short": "must have a length of at least {min_length}",
    "string_too_long": "must have a length of at most {max_length}",
    "string_pattern_mismatch": "has a character that is not allowed",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "uuid_type": _A_UUID,
    "uuid_parsing": _A_UUID,
    "int_type": _A_WHOLE_NUMBER,
    "int_parsing": _A_WHOLE_NUMBER,
    "int_parsing_size": _A_WHOLE_NUMBER,
    "int_from_float": _A_WHOLE_NUMBER,
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "bool_type": _TRUE_OR_FALSE,
    "bool_parsing": _TRUE_OR_FALSE,
    "datetime_type": _A_TIME,
    "datetime_parsing": _A_TIME,
    "datetime_object_invalid": _A_TIME,
    "datetime_from_date_parsing": _A_TIME,
    "timezone_offset": _A_TIME,
    "timezone_aware": "must have an offset, as 2026-11-30T06:00:00Z has",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "dict_type": _AN_OBJECT,
    "model_type": _AN_OBJECT,
    "model_attributes_type": _AN_OBJECT,
}
_ANY = "is not valid"


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Return the field and the sentence of each of pydantic's errors."""
    return [FieldError(field=_field(error["loc"]), message=_sentence(error)) for error in errors]


def _sentence(error: Mapping[str, Any]) -> str:
    kind = str(error["type"])
    if kind.startswith(OWN):
        return str(error["msg"])
    return _SENTENCES.get(kind, _ANY).format_map(error.get("ctx", {}))


def _field(location: Sequence[str | int]) -> str:
    # The first element names the part of the request: body, query, path.
    return ".".join(str(part) for part in location[1:]) or str(location[0])
