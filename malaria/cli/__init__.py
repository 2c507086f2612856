"""The `malaria` command."""
