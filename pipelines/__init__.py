"""How tasks are made: sources, stages and Prefect flows per family, and the command line."""
