"""The REST kit: typed routes, validation, the OpenAPI description made of them, and its pages."""
