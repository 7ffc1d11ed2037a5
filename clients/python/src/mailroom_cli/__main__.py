"""Entry point: python -m mailroom_cli."""

from mailroom_cli.main import main

if __name__ == "__main__":
    main()
