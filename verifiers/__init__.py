"""What a result is worth: test execution, grading, controls."""
