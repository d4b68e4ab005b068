"""What a network costs, in parameters, FLOPs and time, and the report that says so."""
