"""`python -m hormesis_fit` is `hormesis-fit`."""

from hormesis_fit.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
