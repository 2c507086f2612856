"""The checks of `malaria doctor`."""
