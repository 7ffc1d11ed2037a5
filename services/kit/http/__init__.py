"""HTTP: serving an application and the admin port, and calling providers."""
