"""More than one process, and what it costs: the ring, the time of a message, memory, pipelines."""

from course_lib.distributed.alpha_beta import AlphaBeta, fitted, measured, speed_up
from course_lib.distributed.data_parallel import Share, mean, parallel, same_buffers
from course_lib.distributed.normalization import SyncBatchNorm, SyncBatchNormFunction, synchronized
from course_lib.distributed.pipeline import Timetable, Work, bubble, timetable
from course_lib.distributed.processes import ProcessDied, joined, rank, run, told, world_size
from course_lib.distributed.ring import Step, ring_all_reduce, ring_bytes

__all__ = [
    "AlphaBeta",
    "ProcessDied",
    "Share",
    "Step",
    "SyncBatchNorm",
    "SyncBatchNormFunction",
    "Timetable",
    "Work",
    "bubble",
    "fitted",
    "joined",
    "mean",
    "measured",
    "parallel",
    "rank",
    "ring_all_reduce",
    "ring_bytes",
    "run",
    "same_buffers",
    "speed_up",
    "synchronized",
    "timetable",
    "told",
    "world_size",
]
