"""REST API: typed routes, validation, idempotency, and the OpenAPI description with its pages."""
