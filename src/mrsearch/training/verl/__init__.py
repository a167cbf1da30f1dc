"""The adapter to released verl: nothing of verl is copied or patched, all of it goes through verl's registries."""
