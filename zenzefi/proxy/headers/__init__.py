"""Header policy: requests, responses, cookies."""
