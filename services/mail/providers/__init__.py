"""Mail providers: an adapter per vendor behind the protocol in base.py. Adapters know neither store nor engine."""
