"""``python -m zenzefi`` is the same as the ``zenzefi`` command."""

from zenzefi.cli import main

if __name__ == "__main__":
    main()
