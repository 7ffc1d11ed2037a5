"""The console's routes, a module for each part of it."""
