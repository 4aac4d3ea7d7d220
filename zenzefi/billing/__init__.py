"""Money: prices, ledger, bundles, payments."""
