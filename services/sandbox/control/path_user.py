"""The user that the path of a control request names."""

from starlette.requests import Request

from services.sandbox.control.json_body import ControlError
from services.sandbox.mailboxes.user import User, UserDirectory


def user_of_path(request: Request, users: UserDirectory) -> User:
    """Return the user with the path's `email`. Raises ControlError 404 if there is none."""
    email = request.path_params["email"]
    user = users.find_user(email)
    if user is None:
        raise ControlError(404, f"no user {email}")
    return user
