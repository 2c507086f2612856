"""The published networks: one file each in `systems`, shared code in `base`."""
