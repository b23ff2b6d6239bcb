"""What all tests need."""

import signal

import pytest

# Where pytest runs in the background of a script, it inherits SIGINT as ignored, under nohup SIGHUP, and so would each
# command that a test sends one of them. A signal with a handler reaches children with its default action.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

PARTS = {
    "serve": ("server/",),
    "people": ("chat/", "batch/", "examples/", "test_docs"),
    "training and quantising": ("train/", "test_train", "finetune/", "ptq/"),
    "web": ("page/", "web/"),
}
"""Parts that share the time of `.ci/run`, by how the paths of their tests begin; the other tests are core."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how long the tests of each part took."""
    seconds = dict.fromkeys(("core", *PARTS), 0.0)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                path = report.nodeid.removeprefix("tests/")
                part = next((name for name, starts in PARTS.items() if path.startswith(starts)), "core")
                seconds[part] += report.duration
    terminalreporter.write_line("minutes: " + ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items()))
