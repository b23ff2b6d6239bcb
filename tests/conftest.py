"""What all tests need."""

import signal

# Where pytest runs in the background of a script, it inherits SIGINT as ignored, and so would each command that a test
# interrupts. A signal with a handler reaches children with its default action.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
