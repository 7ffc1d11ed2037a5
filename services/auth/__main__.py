"""Starts the auth service: `python -m services.auth`."""

from functools import partial

from services.auth.app import run as run_auth
from services.auth.settings import AuthSettings
from services.kit.logging import configure_logging
from services.kit.process import run
from services.kit.settings import load

if __name__ == "__main__":
    settings = load(AuthSettings)
    configure_logging(service="auth", level=settings.log_level)
    run(partial(run_auth, settings))
