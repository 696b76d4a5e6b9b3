"""`umc`, examples and scripts as processes of their own that begin at once: forked from one that has loaded libraries.

To start Python and to load torch, its optimisers and matplotlib takes three to seven seconds of a processor, every
time. Here one process loads them (and starts no thread, or a fork could hang) and waits; what is started is a fork of
it, with its own working folder, environment, standard streams, signals and end; only libraries are not taken apart at
its end. What such a process spawns with `multiprocessing` is forked in the same way. Tests of how the program itself
starts take real processes. The forks of one server share their hash seed; tests that compare runs take a real process,
too.

    Linux only. tests -> server: arguments, folder, environment, streams
                server -> waiter -> the process; tests <- waiter: process id, later the exit code
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAN_FORK = sys.platform == "linux" and hasattr(socket, "recv_fds")
_NUMBER = struct.Struct("i")
_END = struct.Struct("id")
"""Exit code, and seconds of processors."""
_LONGEST_START_S = 120
_LOADED = (
    *("umc_cli.cli.app", "umc_cli.api", "umc_cli.workflows.demo", "umc_cli.workflows.pretrain"),
    *("umc_cli.workflows.train_sec", "umc_cli.workflows.evaluate_sec", "umc_cli.workflows.evaluate_conversion"),
    *("umc_cli.workflows.simulate", "umc_cli.workflows.shards", "umc_cli.workflows.convert_dry_run"),
    # Not openvino, which starts a thread.
    *(
        "torch._dynamo",
        "torch.utils.data",
        "torch.distributed.run",
        "torchvision",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
    ),
    *("av", "hdf5plugin", "multiprocessing.spawn", "concurrent.futures.process"),
)


@dataclass(frozen=True)
class Server:
    """The process that has loaded the libraries, and forks."""

    path: Path
    """Its socket."""


@contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[Path]:
    """Start a server, and end it with the block; what it has started goes on. Yield its path while it still loads.

    `environment`: of the libraries while they load.
    """
    with tempfile.TemporaryDirectory(prefix="umc-") as folder:  # sockets have short names
        path = Path(folder) / "umc"
        with subprocess.Popen(
            [sys.executable, __file__, "serve", str(path)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            yield path
            process.communicate()


def loaded_server(path: Path) -> Server:
    """Return the server once it has loaded the libraries; another process may have started it.

    Raises:
        RuntimeError: it cannot serve.
    """
    until = time.monotonic() + _LONGEST_START_S
    while not path.exists():
        if (failed := _failure_of(path)).exists():
            raise RuntimeError(failed.read_text())
        if time.monotonic() > until:
            raise RuntimeError("the server did not start")
        time.sleep(0.02)
    return Server(path)


def _failure_of(path: Path) -> Path:
    """Return where a server says why it cannot serve."""
    return path.with_suffix(".failed")


class Process:
    """A forked process, used like a `subprocess.Popen` with binary streams."""

    def __init__(
        self,
        server: Path,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        *,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        passed: Sequence[int] = (),
        own_group: bool = False,
    ) -> None:
        """`command`: `-m`, a module and its arguments, `-c` and code, or a script and its arguments.

        `passed`: further file descriptors, which keep their numbers. `own_group`: of processes, with those that it
        spawns, as a terminal gives each command.
        """
        self.args, self.returncode, self.processor_s = list(command), None, 0.0
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.connect(str(server))
        mine: list[Any] = []
        theirs: list[int] = []
        opened: list[int] = []
        for number, (wanted, mode) in enumerate(((stdin, "wb"), (stdout, "rb"), (stderr, "rb"))):
            if wanted == subprocess.PIPE:
                reading, writing = os.pipe()
                their_end, my_end = (reading, writing) if mode == "wb" else (writing, reading)
                opened.append(their_end)
                mine.append(os.fdopen(my_end, mode, 0 if mode == "wb" else -1))
            elif wanted == subprocess.DEVNULL:
                their_end = os.open(os.devnull, os.O_RDWR)
                opened.append(their_end)
                mine.append(None)
            else:
                is_stdout = wanted == subprocess.STDOUT
                their_end = theirs[1] if is_stdout else number if wanted is None else _number_of(wanted)
                mine.append(None)
            theirs.append(their_end)
        place = [str(cwd), dict(environment), [0, 1, 2, *passed], own_group, os.getpid()]
        content = json.dumps([list(command), *place]).encode()
        socket.send_fds(self._connection, [_NUMBER.pack(len(content))], [*theirs, *passed])
        self._connection.sendall(content)
        for descriptor in opened:
            os.close(descriptor)
        self.stdin, self.stdout, self.stderr = mine
        self.pid = _NUMBER.unpack(_exactly(self._connection, _NUMBER.size))[0]
        self._read: dict[int, bytes] = {}
        self._readers: list[threading.Thread] = []

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode, self.processor_s = _END.unpack(_exactly(self._connection, _END.size))
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once the process has ended.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        if self.returncode is None and not select.select([self._connection], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send standard input, and return what the process has written once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        if not self._readers:
            for number, stream in ((1, self.stdout), (2, self.stderr)):
                if stream is not None:
                    reader = threading.Thread(target=self._read_all, args=(number, stream), daemon=True)
                    reader.start()
                    self._readers.append(reader)
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.write(input or b"")
            self.stdin.close()
        for reader in self._readers:
            reader.join(None if ends is None else max(0.0, ends - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if ends is None else max(0.1, ends - time.monotonic()))
        return self._read.get(1), self._read.get(2)

    def _read_all(self, number: int, stream: Any) -> None:
        self._read[number] = stream.read()

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None and not any(reader.is_alive() for reader in self._readers):
                stream.close()
        self.wait()
        self._connection.close()


def _number_of(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        more = connection.recv(count - len(content))
        if not more:
            raise RuntimeError("the server of processes has ended")
        content += more
    return content


def _load() -> None:
    """Load what processes are to find.

    Raises:
        RuntimeError: a library has started a thread.
    """
    gc.disable()  # the libraries' objects stay: to look through them while they load takes seconds
    atexit.register(_leave_libraries)  # what is registered first runs last
    for name in _LOADED:
        importlib.import_module(name)
    from umc_cli.cli.command_group import Commands

    _ = [*Commands().values()]
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)  # once Python has ended: torch's C++ takes 0.2 s to take itself apart
    n_threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if n_threads != 1:
        raise RuntimeError(f"{n_threads} threads: a fork might hang")
    gc.freeze()
    gc.enable()


def _serve(path: Path) -> list[str]:
    """Wait, and fork; return in every fork, with what it is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{path}.new")
    listener.listen(64)
    Path(f"{path}.new").rename(path)  # there once it answers
    while True:
        if 0 in select.select([listener, 0], [], [])[0]:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            command, starter = _wait_for_one(connection)
            for module, name, value in spawning_from(path):
                setattr(module, name, value)
            if command[0] == "-c":
                Path("/proc/self/comm").write_text(f"of-{starter}")  # for tests that look for it
            return command
        connection.close()


def _leave_libraries() -> None:
    """Keep Python, as a fork ends, from taking apart the libraries, which takes as long as a small command.

    The fork's threads, its objects and the modules of `umc` end as they always do.
    """
    own = {*sys.stdlib_module_names, "umc_cli", "__main__", "__mp_main__"}
    libraries = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] not in own}
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(libraries))


def spawning_from(server: Path) -> Iterator[tuple[Any, str, Any]]:
    """Return what to replace in `multiprocessing`, so that the processes that it spawns are forks of the server."""
    from multiprocessing import popen_spawn_posix, util

    started: dict[int, Process] = {}
    start, poll = util.spawnv_passfds, popen_spawn_posix.Popen.poll  # type: ignore[attr-defined]

    def start_fork(executable: Any, arguments: Sequence[Any], passed: Sequence[int]) -> int:
        command = [os.fsdecode(argument) for argument in arguments]
        if "--multiprocessing-fork" not in command:
            return int(start(executable, arguments, passed))
        process = Process(server, command[command.index("-c") :], Path.cwd(), os.environ, passed=passed)
        started[process.pid] = process
        return process.pid

    def poll_fork(self: Any, flag: int = os.WNOHANG) -> int | None:
        if (process := started.get(self.pid)) is None:
            return poll(self, flag)
        self.returncode = process.poll() if flag == os.WNOHANG else process.wait()
        return process.returncode

    yield util, "spawnv_passfds", start_fork
    yield popen_spawn_posix.Popen, "poll", poll_fork


def _wait_for_one(connection: socket.socket) -> tuple[list[str], int]:
    """Fork the process and wait for its end; return in the process alone: its command, and who has started it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, _NUMBER.size, 32)
    command, folder, environment, numbers, own_group, starter = json.loads(
        _exactly(connection, _NUMBER.unpack(size)[0])
    )
    child = os.fork()
    if child:
        for number in (0, 1, 2, *streams):
            os.close(number)
        connection.sendall(_NUMBER.pack(child))
        _, status, usage = os.wait4(child, 0)
        try:
            connection.sendall(_END.pack(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime))
        finally:
            os._exit(0)
    connection.close()
    if own_group:
        os.setpgid(0, 0)
    elif os.getsid(starter) == os.getsid(0):
        os.setpgid(0, os.getpgid(starter))
    away = [fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 1 + max(*numbers, *streams)) for stream in streams]
    for stream in streams:
        os.close(stream)
    for stream, number in zip(away, numbers, strict=True):
        os.dup2(stream, number, inheritable=number < 3)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return list(command), starter


def _become(command: Sequence[str]) -> None:
    """Do what `python <command>` does."""
    if command[0] == "-m":
        sys.argv = list(command[1:])
        sys.path[0] = str(Path.cwd())
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(command[1], {"__name__": "__main__"})
    else:
        sys.argv = list(command)
        sys.path[0] = str(Path(command[0]).parent)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        socket_path = Path(sys.argv[2])
        try:
            _load()
        except Exception as error:
            Path(f"{socket_path}.new").write_text(f"{type(error).__name__}: {error}")
            Path(f"{socket_path}.new").rename(_failure_of(socket_path))
            raise
        _become(_serve(socket_path))
    else:  # run SERVER COMMAND...: what a shell starts
        process = Process(Path(sys.argv[2]), sys.argv[3:], Path.cwd(), os.environ)
        sys.exit(process.wait())
