"""The subcommands of ``python -m kronla``: each module has ``add_arguments(parser)`` and ``run(args) -> int``."""
