"""Worked models; run one from the repository with ``python -m models.NAME``."""
