"""The command `sterna`, and `python -m sterna`. It sets the handlers of signals before it imports anything large."""

from sterna.cli.interrupts import exit_at_once

exit_at_once()

from sterna.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
