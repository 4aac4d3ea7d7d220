"""What tests share: servers, gates, upstreams, connections, browsers, users and their helpers."""
