"""Personal data: a user's download of everything stored, and the deletion of an account."""
