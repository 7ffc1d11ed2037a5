"""The deliverer of webhooks: takes the feeds' events to the endpoints of applications."""
