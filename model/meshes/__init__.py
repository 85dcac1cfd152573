"""Triangle surfaces: the type, its connectivity, its files."""
