"""Raw artefacts, read and parsed: pure functions that know neither pytest nor a cluster connection."""
