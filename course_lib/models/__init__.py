"""The networks of the book, one module a family."""
