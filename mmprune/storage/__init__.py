"""Files that are whole or not there, a cache of results by content, and the lock of a work dir."""
