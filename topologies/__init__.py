"""The example labs and their JSON Schema, as files that travel with the program. Nothing here runs."""
