"""The command line: `tfviz explain`, `tfviz methods`, `tfviz layers`."""
