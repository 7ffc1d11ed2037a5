"""MIME: parsing and building messages."""
