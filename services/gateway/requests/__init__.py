"""What a request may say: strict routes, parameters in paths, preferences, conditions."""
