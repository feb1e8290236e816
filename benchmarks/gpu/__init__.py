"""What a GPU does with the book's networks: the GPU part of chapter 12, measured by one command.

``python -m benchmarks.gpu`` runs every section within a budget of seconds and writes two files: the tables,
``book/results/speed.md``, and the numbers behind them, ``course_lib/recorded/speed.json``. ``--smoke`` runs
all of it on tiny sizes, on a CPU too. What there was no time for is named in the tables, not left out.
"""
