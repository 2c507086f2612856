"""What `malaria doctor` looks at: functions that give findings on the repository at a root."""
