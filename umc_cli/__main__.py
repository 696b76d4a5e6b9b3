"""`python -m umc_cli` is `umc`."""

from umc_cli.cli.app import main

if __name__ == "__main__":
    main()
