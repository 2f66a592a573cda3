"""SWE tasks: changes of real projects, split into a gold patch and hidden tests."""
