"""Processes that exit or fork while threads generate, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import multiprocessing, os, signal, sys, threading
from sterna import LLM

llm, begun = LLM(threads=2), threading.Event()

def for_ever():
    while True:
        for piece in llm.stream("Once", max_tokens=400, ignore_eos=True):
            begun.set()

def generate_on_threads():
    begun.clear()
    for _ in range(3):
        threading.Thread(target=for_ever, daemon=True).start()
    begun.wait()

def in_child(function):
    child = os.fork()
    if not child:
        function()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0

def generate():
    print(len(llm.generate("Twice", max_tokens=8, temperature=0)) > 0, flush=True)

generate_on_threads()
"""
SITUATIONS = {
    "the main thread ends": ("print('done')", "done\n"),
    "sys.exit": ("print('done', flush=True); sys.exit(0)", "done\n"),
    "Ctrl-C is caught": (
        "try: os.kill(os.getpid(), signal.SIGINT); llm.generate('a', max_tokens=500, ignore_eos=True)\n"
        "except KeyboardInterrupt: print('done')",
        "done\n",
    ),
    "a child generates": ("for _ in range(3): in_child(generate)", "True\n" * 3),
    "a child exits while its own threads generate": ("in_child(generate_on_threads); print('done')", "done\n"),
    "threads fork": (
        "def child(): generate(); os._exit(0)\n"  # sys.exit would end its thread alone
        "threads = [threading.Thread(target=in_child, args=[child]) for _ in range(3)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()",
        "True\n" * 3,
    ),
    "a grandchild generates": (
        "def child(): generate_on_threads(); in_child(generate)\nin_child(child)",
        "True\n",
    ),
    "a pool of processes": (
        "with multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(len, ['a'] * 4))",
        "[1, 1, 1, 1]\n",
    ),
    "a fork while another model loads": (
        "loaded = threading.Event()\n"
        "def load():\n"
        "    while not loaded.is_set(): LLM(threads=1)\n"
        "loader = threading.Thread(target=load)\n"
        "loader.start()\n"
        "for _ in range(3): in_child(lambda: print(len(LLM(threads=2).generate('a', max_tokens=2)) > 0, flush=True))\n"
        "loaded.set()\n"
        "loader.join()",
        "True\n" * 3,
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_process_ends_as_it_should_while_threads_generate(name: str) -> None:
    program, expected = SITUATIONS[name]
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
