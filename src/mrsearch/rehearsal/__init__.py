"""A short run of everything that a study will do, with random weights of its real shapes."""
