"""Header fields: addresses, dates, parameters and encoded words."""
