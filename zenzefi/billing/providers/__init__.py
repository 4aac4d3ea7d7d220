"""Payment providers, which collect roubles for ZNC; ``base`` is their interface."""
