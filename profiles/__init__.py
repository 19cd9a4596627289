"""The standards that come with the package, and their JSON Schema."""
