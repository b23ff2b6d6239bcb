"""`sterna serve`: one engine behind the dialects of HTTP that applications speak already (docs/serve.md)."""
