"""Trajectories of a pool as the records of other trainers."""
