"""Clusters: executors whose workers are other machines, or processes that another library starts."""
