"""Functions run by several ranks, each a process of its own, as torchrun would start them."""

import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from tests.conftest import PROJECT, environment_of_umc
from tests.forked_umc import Process, Server
from umc_cli.training.ranks import joined


def run_in_ranks(server: Server | None, count: int, work: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Call `work(ranks, *arguments)` in every rank and return their exit codes. `work`: of a module."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Modules of tests are found where pytest found them.
    call = pickle.dumps((sys.path, pickle.dumps((work, arguments)))).hex()
    place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = ["-m", "tests.training.processes", call]
    processes: list[Any] = []
    for rank in range(count):
        environment = environment_of_umc() | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        if server:
            processes.append(Process(server.path, command, PROJECT, environment))
        else:
            processes.append(subprocess.Popen([sys.executable, *command], cwd=PROJECT, env=environment))
    codes: list[int | None] = []
    for process in processes:
        with process:
            try:
                codes.append(process.wait(120))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(None)
    return codes


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.path, call = pickle.loads(bytes.fromhex(sys.argv[1]))
    work, arguments = pickle.loads(call)
    with joined("cpu") as (ranks, _):
        work(ranks, *arguments)
