"""Office work: workbooks made by walking operations, and their tasks."""
