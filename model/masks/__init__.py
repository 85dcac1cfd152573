"""Surfaces to voxel masks."""
