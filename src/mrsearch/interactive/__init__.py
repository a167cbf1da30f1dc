"""A study as a person works with it: questions answered live, recorded meta-episodes shown, scores and records read."""
