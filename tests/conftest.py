"""Fixtures that several tests share: a small workspace, the command line in this process and in its own."""

import gc
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.forked_umc import CAN_FORK, Process, Server, loaded_server, serving, spawning_from
from tests.samples import SOURCE, TARGET, Run, noise, write_audio

PROJECT = Path(__file__).parent.parent

# The tests run in as many processes as there are processors. With several threads each, threads wait for ones that do
# not run: a training step of 0.04 s then takes seconds.
os.environ["OMP_NUM_THREADS"] = "1"
N_KILLS = int(os.environ.get("UMC_FAULT_KILLS", "3"))
"""How often the tests of faults end a run; their long form tries 150."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background of a script ignores Ctrl-C, and so would every command that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

for variable in [name for name in os.environ if name.startswith("UMC_") and name != "UMC_REALDATA"]:
    del os.environ[variable]


_LONGEST = ("test_examples", "test_guides", "test_kills", "test_nothing_goes_out", "test_simulating", "test_demo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes longest, so that all workers end together; groups go before them anyway."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in _LONGEST))


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave out of the garbage collector's later rounds what collection has loaded: 600,000 objects, which stay."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with four good clips of two segments, in two labels, recorded with `xperia1v`."""
    root = tmp_path / "workspace"
    for index in range(4):
        write_audio(root / f"data/{SOURCE}/{'ab'[index % 2]}/good{index}.wav", noise(seed=index))
    return root


@pytest.fixture
def umc(workspace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Return a function that runs `umc` in this process, in the workspace: `umc("convert", "--source", ...)`."""
    from umc_cli.cli.app import main

    monkeypatch.chdir(workspace)
    return lambda *arguments: run_here(monkeypatch, capfd, main, [str(argument) for argument in arguments])


def run_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], main: Callable[[], None], arguments: list[str]
) -> Run:
    """Run `main` as the command line would."""
    monkeypatch.setattr(sys, "argv", ["umc", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    shown = capfd.readouterr()
    return Run(int(end.value.code or 0), shown.out, shown.err)


@pytest.fixture
def convert(umc: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that runs `umc convert` from the workspace's source to one target, with further options."""
    return lambda *options: umc("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", *options)


def environment_of_umc() -> dict[str, str]:
    """Return the environment of a process that can import `umc_cli`, wherever it works."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


_SERVER = pytest.StashKey[Path]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Where all tests run, let the workers share one server of processes, which loads while they collect tests."""
    config = node.config
    is_selected = config.option.keyword or config.option.markexpr
    if CAN_FORK and config.args_source == pytest.Config.ArgsSource.TESTPATHS and not is_selected:
        if _SERVER not in config.stash:
            until_the_end = ExitStack()
            config.stash[_SERVER] = until_the_end.enter_context(serving(environment_of_umc()))
            config.add_cleanup(until_the_end.close)
        node.workerinput["server"] = str(config.stash[_SERVER])


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server | None]:
    """What processes are forked from, where that can be done."""
    if not CAN_FORK:
        yield None
        return
    with ExitStack() as until_the_end:
        shared = getattr(request.config, "workerinput", {}).get("server")
        path = Path(shared) if shared else until_the_end.enter_context(serving(environment_of_umc()))
        server: Server | None = None
        try:
            server = loaded_server(path)
        except RuntimeError as error:  # a library starts a thread when it is loaded
            warnings.warn(f"processes start from nothing, which takes minutes more: {error}", stacklevel=1)
        yield server


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({}, resource.RLIM_INFINITY))
from umc_cli.cli.app import main
main()
"""


@pytest.fixture(scope="session")
def start_umc(server: Server | None) -> Callable[..., Any]:
    """Return a function that starts `python -m umc_cli` as a process of its own.

    It is forked from one that has loaded the libraries, or, with `is_forked=False` or options that need it, starts
    from nothing. `slow_after`: so many files are made at once, the others take their time; `held_after`: the others
    wait for a file `go-on` (`tests/slow_umc.py`). `largest_file`: no file gets larger, in bytes, as on a full disk.
    `own_group`: it and what it spawns are a group of processes.
    """

    def start(
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        is_forked: bool = True,
        slow_after: int | None = None,
        held_after: int | None = None,
        largest_file: int | None = None,
        own_group: bool = False,
        **options: Any,
    ) -> Any:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        environment = environment_of_umc() | (env or {})
        module = ["umc_cli"]
        for how, number in (("slow", slow_after), ("held", held_after)):
            if number is not None:
                module = ["tests.slow_umc", how, str(number)]
        command = ["-m", *module, *arguments]
        if largest_file is not None:
            command = ["-c", LIMITED.format(largest_file), *arguments]
        if server and is_forked and len(pipes) == 3 and all(name.startswith("UMC_") for name in env or {}):
            return Process(server.path, command, cwd, environment, own_group=own_group, **pipes)
        command = [sys.executable, *command]
        return subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=own_group, **pipes)

    return start


@pytest.fixture(scope="session")
def run_script(server: Server | None) -> Callable[..., Run]:
    """Return a function that runs a Python script as a process of its own, forked as those of `start_umc` are."""

    def run(*command: str, cwd: Path, timeout: float = 300) -> Run:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = environment_of_umc()
        if server:
            process: Any = Process(server.path, command, cwd, environment, **streams)
        else:
            process = subprocess.Popen([sys.executable, *command], cwd=cwd, env=environment, **streams)
        with process:
            out, err = process.communicate(timeout=timeout)
        return Run(process.returncode, out.decode(), err.decode())

    return run


@pytest.fixture(scope="session")
def run_umc(start_umc: Callable[..., "subprocess.Popen[bytes]"]) -> Callable[..., Run]:
    """Return a function that runs `python -m umc_cli` as a process of its own and waits for its end."""

    def run(*arguments: str, cwd: Path, stdin: bytes = b"", timeout: float = 60, **options: Any) -> Run:
        with start_umc(*arguments, cwd=cwd, **options) as process:
            out, err = process.communicate(stdin, timeout)
        return Run(process.returncode, (out or b"").decode(), (err or b"").decode())

    return run


@pytest.fixture
def forked_worlds(server: Server | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that this one spawns, to simulate devices or convert, be forked from one that has loaded torch."""
    if server:
        for module, name, value in spawning_from(server.path):
            monkeypatch.setattr(module, name, value)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings draw nothing: a picture takes longer than the rest of a small run. Others look at pictures."""
    for module in ("adversarial_training", "pretraining"):
        name = f"umc_cli.conversion.converter_training.{module}.draw_conversion_figure"
        monkeypatch.setattr(name, lambda *_, **__: None)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real recordings; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("UMC_REALDATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings in {folder}; UMC_REALDATA names their folder")
    return folder
