"""Payment providers: how real money becomes ZNC. ``base`` is the interface that all follow."""
