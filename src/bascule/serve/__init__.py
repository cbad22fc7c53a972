"""Commands over a Unix socket, for programs that make many calls: ``docs/serve.md`` is its
protocol. It knows lines, callers and workers; what a command does it is handed."""
