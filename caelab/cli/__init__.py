"""The command line of caelab."""
