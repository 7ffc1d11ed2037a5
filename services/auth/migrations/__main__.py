"""`python -m services.auth.migrations upgrade`: the command of auth's migrations."""

import sys
from pathlib import Path

from services.auth.settings import AuthDatabaseSettings
from services.auth.store.tables import metadata
from services.kit.settings import load
from services.kit.stores.migrations.command import main

if __name__ == "__main__":
    settings = load(AuthDatabaseSettings)
    main(
        sys.argv[1:],
        versions=Path(__file__).with_name("versions"),
        metadata=metadata,
        database=settings.database,
        administrator=settings.administrator,
    )
