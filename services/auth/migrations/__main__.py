"""`python -m services.auth.migrations upgrade`: the command of auth's migrations."""

import sys
from pathlib import Path

from services.auth.command_settings import AuthMigrationSettings
from services.auth.store.privileges import AUTH
from services.auth.store.tables import metadata
from services.kit.settings import load
from services.kit.stores.migrations.command import main
from services.kit.stores.migrations.roles import ProcessRole

if __name__ == "__main__":
    settings = load(AuthMigrationSettings)
    main(
        sys.argv[1:],
        versions=Path(__file__).with_name("versions"),
        metadata=metadata,
        owner=settings.owner,
        administrator=settings.administrator,
        roles=[ProcessRole(settings.database, AUTH)],
    )
