"""A chat: a conversation with a model, what is done to it, and its answers. The terminal: `cli/terminal`."""
