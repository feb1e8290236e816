"""What chapters show under ``FULL = True``, run once over several seeds and written into the book.

``python -m benchmarks.full`` lists them; with a name it runs that one and rewrites its table in
``book/results``. They train on full data sets, so they need ``COURSE_DATA`` or a network, and time.
"""
