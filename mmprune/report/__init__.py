"""What a run tells people: its report, tables, pictures and page."""
