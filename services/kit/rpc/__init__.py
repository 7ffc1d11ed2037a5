"""gRPC between services: server, client, allow-list, errors and telemetry."""
