"""The part `webhooks` of the OpenAPI document: what Mailroom sends, and what receivers answer."""

from typing import Any, get_args

from pydantic import TypeAdapter

from services.gateway.schemas.webhooks import EventType, WebhookEvent

_HEADERS = {
    "webhook-id": "The same for each try of an event: drop those that you have seen",
    "webhook-timestamp": "Unix seconds of this try",
    "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; several with spaces between",
}


def add_webhooks(document: dict[str, Any], *, reference: str) -> None:
    """Describe each type of event, with the schema of its body, and `WebhookEvent`, which is any of them."""
    schema = TypeAdapter(WebhookEvent).json_schema(ref_template=reference + "{model}")
    parts = document["components"]
    parts["schemas"] = {**schema.pop("$defs"), **parts["schemas"], "WebhookEvent": schema}
    bodies = schema["discriminator"]["mapping"]
    types = (*get_args(EventType.__value__), "webhook.test")
    document["webhooks"] = {name: {"post": _operation(name, bodies[name])} for name in types}


def _operation(name: str, schema: str) -> dict[str, Any]:
    return {
        "summary": name,
        "description": f"A delivery of `{name}`: docs/webhooks.md.",
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for header, text in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": schema}}}},
        "responses": {
            "2XX": {"description": "Taken"},
            "410": {"description": "Nothing more is wanted: the webhook is disabled"},
            "default": {"description": "Not taken: it is tried again"},
        },
    }
