"""`python -m services.auth.migrations upgrade`: creates the auth service's database and brings it up to date."""

import sys
from pathlib import Path

from services.auth.settings import AuthDatabaseSettings
from services.kit.settings import load
from services.kit.stores.migrations import main

if __name__ == "__main__":
    settings = load(AuthDatabaseSettings)
    main(
        sys.argv[1:],
        directory=Path(__file__).parent,
        database=settings.database,
        administrator=settings.administrator,
    )
