"""What every page has: policy, templates, the calls that it made."""
