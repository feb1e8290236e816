"""What keeps the notebooks in order: their first cell, their stored form, their contract."""
