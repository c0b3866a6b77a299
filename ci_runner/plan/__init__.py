"""Event and settings to a plan: selection, flags, shards, matrix. Pure: nothing here touches the world."""
