"""The links of the request chain, one file each, each readable alone."""
