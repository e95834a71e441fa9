"""The paper's tables, repeated: the runs, what they cost, and the report that sets them beside what is published."""
