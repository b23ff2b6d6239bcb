"""OpenAI's API (types of openai-python 3.57)."""
