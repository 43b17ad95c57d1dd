"""The quality table: tasks, methods, report."""
