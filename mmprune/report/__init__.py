"""Reports, tables, pictures and pages of runs."""
