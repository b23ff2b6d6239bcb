"""Situations from public bug reports, one file a group (the chat, folders, corpora, training, the command line)."""
