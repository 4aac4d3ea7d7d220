"""The running process: server, workers, drain, reload, health, periodic jobs."""
