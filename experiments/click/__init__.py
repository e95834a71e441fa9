"""A page on which a person clicks on food and is told what it is, and why."""
