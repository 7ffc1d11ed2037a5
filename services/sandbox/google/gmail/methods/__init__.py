"""The methods of the Gmail API."""
