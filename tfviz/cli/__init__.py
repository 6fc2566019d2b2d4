"""The `tfviz` command line, with one module per command."""
