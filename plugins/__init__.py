"""The bundled rewriters, one file each, written only against ``zenzefi.plugins``."""
