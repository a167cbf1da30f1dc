"""Recorded outputs of real checkpoints, held against a protocol."""
