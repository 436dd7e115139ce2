"""Files: atomic writes, checksums, locks, and folders that change as one."""
