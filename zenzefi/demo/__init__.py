"""A small upstream site that uses everything a real one does."""
