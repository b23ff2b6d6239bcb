"""The command `sterna`, also as `python -m sterna`: signals have their handlers before anything large is imported."""

from sterna.cli.interrupts import exit_at_once

exit_at_once()

from sterna.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
