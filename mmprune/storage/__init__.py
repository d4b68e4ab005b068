"""Files that are whole or not there, results found again by their content, and one run per work dir."""
