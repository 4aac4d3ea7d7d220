"""The rewriting engine: pure, bytes in, bytes out; knows neither HTTP server nor database."""
