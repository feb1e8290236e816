import subprocess
import sys

import torch

from course_lib import data

OFFLINE = """
import socket
def refuse(*_, **__): raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = refuse
from course_lib import data
assert len(data.photos()) == 10
"""


def test_photographs_are_bytes_channel_first():
    photos = data.photos()
    assert {"cat", "coffee", "camera"} <= photos.keys()
    for name, pixels in photos.items():
        assert pixels.dtype == torch.uint8
        assert pixels.dim() == 3
        assert pixels.shape[0] == (3 if name in ("astronaut", "cat", "coffee", "rocket") else 1)
        assert min(pixels.shape[1:]) >= 300
        assert pixels.is_contiguous()
        assert pixels.float().std() > 20, "a photograph, not a blank"
    assert photos["cat"].shape == (3, 300, 451)
    assert photos["cat"].float().mean((1, 2)).argmax() == 0, "she is a red cat: channels in the right order"


def test_photographs_need_no_network():
    subprocess.run([sys.executable, "-c", OFFLINE], check=True)
