"""Backup and restore of jobs, results and API keys, of a service that may run meanwhile."""
