"""A stand-in for mail providers: OAuth, mail APIs and push, with faults on demand. Never part of production."""
