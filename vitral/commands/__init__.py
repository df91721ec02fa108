"""One module per verb of the command: `options(parser)` and `call(arguments, screen) -> (exit code, document)`."""
