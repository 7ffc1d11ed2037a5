"""The deployable services, and the mechanisms that they share. Services never import each other."""
