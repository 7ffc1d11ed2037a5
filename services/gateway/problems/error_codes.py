"""The error codes that a client can get, with their statuses. docs/errors.md explains them."""

from http import HTTPStatus

ERROR_CODES = {
    "invalid_request": HTTPStatus.BAD_REQUEST,
    "cors_not_allowed": HTTPStatus.BAD_REQUEST,
    "malformed_json": HTTPStatus.BAD_REQUEST,
    "malformed_request": HTTPStatus.BAD_REQUEST,
    "unknown_provider": HTTPStatus.BAD_REQUEST,
    "invalid_code_challenge": HTTPStatus.BAD_REQUEST,
    "client_proof_required": HTTPStatus.BAD_REQUEST,
    "invalid_hand_off": HTTPStatus.BAD_REQUEST,
    "invalid_code_verifier": HTTPStatus.BAD_REQUEST,
    "link_of_another_user": HTTPStatus.BAD_REQUEST,
    "invalid_page_token": HTTPStatus.BAD_REQUEST,
    "invalid_query": HTTPStatus.BAD_REQUEST,
    "invalid_since": HTTPStatus.BAD_REQUEST,
    "invalid_account_id": HTTPStatus.BAD_REQUEST,
    "missing_token": HTTPStatus.UNAUTHORIZED,
    "invalid_token": HTTPStatus.UNAUTHORIZED,
    "invalid_refresh_token": HTTPStatus.UNAUTHORIZED,
    "reauthentication_required": HTTPStatus.UNAUTHORIZED,
    "not_found": HTTPStatus.NOT_FOUND,
    "mailbox_not_found": HTTPStatus.NOT_FOUND,
    "message_not_found": HTTPStatus.NOT_FOUND,
    "attachment_not_found": HTTPStatus.NOT_FOUND,
    "thread_not_found": HTTPStatus.NOT_FOUND,
    "sync_not_found": HTTPStatus.NOT_FOUND,
    "account_not_found": HTTPStatus.NOT_FOUND,
    "user_not_found": HTTPStatus.NOT_FOUND,
    "session_not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "request_timeout": HTTPStatus.REQUEST_TIMEOUT,
    "ambiguous_address": HTTPStatus.CONFLICT,
    "nothing_to_verify": HTTPStatus.CONFLICT,
    "idempotency_key_reused": HTTPStatus.CONFLICT,
    "reauth_required": HTTPStatus.CONFLICT,
    "provider_access_denied": HTTPStatus.CONFLICT,
    "account_of_another_user": HTTPStatus.CONFLICT,
    "no_offline_access": HTTPStatus.CONFLICT,
    "message_gone": HTTPStatus.GONE,
    "resync_required": HTTPStatus.GONE,
    "request_too_large": HTTPStatus.CONTENT_TOO_LARGE,
    "url_too_long": HTTPStatus.URI_TOO_LONG,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "unsupported_content_encoding": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "range_not_satisfiable": HTTPStatus.RANGE_NOT_SATISFIABLE,
    "provider_rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_requests": HTTPStatus.TOO_MANY_REQUESTS,
    "headers_too_large": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "provider_misconfigured": HTTPStatus.INTERNAL_SERVER_ERROR,
    "service_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_connections": HTTPStatus.SERVICE_UNAVAILABLE,
    "provider_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "deadline_exceeded": HTTPStatus.GATEWAY_TIMEOUT,
}

# Codes that several routes share: those of a request with an access token, of one that names a mailbox, of a JSON body.
OF_A_USER = ("missing_token", "invalid_token", "too_many_requests")
OF_A_MAILBOX = (*OF_A_USER, "invalid_account_id", "mailbox_not_found", "ambiguous_address")
OF_A_BODY = ("malformed_json", "request_too_large", "unsupported_media_type")
OF_A_PROVIDER = ("reauth_required", "provider_access_denied", "account_not_found")
