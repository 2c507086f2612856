"""Tests of malaria/cli."""
