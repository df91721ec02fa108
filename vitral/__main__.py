"""`python -m vitral`."""

from vitral.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
