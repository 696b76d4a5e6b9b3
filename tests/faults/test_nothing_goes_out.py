"""No command opens a connection that was not asked for, needs a home folder, or writes anywhere but where it should.

The commands run one after another in a process of their own, under a hook of Python's that hears of every connection
and every file opened for writing, in the processes that they start too. Native code is heard by strace, where there is
one.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.samples import SOURCE, TARGET, Run, noise, write_audio

HOOK = """
import os, sys
log = os.open(os.environ["HEARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND

def hear(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"):
        said = str(arguments[1:] if event != "socket.getaddrinfo" else arguments)
    elif event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & WRITES:
        said = os.path.abspath(os.fsdecode(arguments[0]))
    elif event == "os.mkdir":
        said = os.path.abspath(os.fsdecode(arguments[0]))
    else:
        return
    os.write(log, f"{event}\\t{said}\\n".encode())

sys.addaudithook(hear)
if "HOME" not in os.environ:
    import pwd

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    pwd.getpwuid = unknown
"""

PROGRAM = """
import json, sys
from umc_cli.cli.app import main
codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["umc", *arguments]
    try:
        main()
    except SystemExit as end:
        codes.append(int(end.code or 0))
print(json.dumps([codes, sorted({"librosa", "numba", "openvino_telemetry"} & {*filter(sys.modules.get, sys.modules)})]))
"""

MAIN = "from umc_cli.cli.app import main\nmain()\n"

SMALL = ("--preset", "smoke", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4", "--max-steps", "2")
COMMANDS = [
    ["devices", "show", TARGET],
    ["convert", "--source", SOURCE, "--targets", TARGET, "--converter", "refiner", "--quiet"],
    ["shards", "verify", "converted"],
    ["synth-fr", "--n", "3", "--figure", "drawn.png", "--quiet"],
    ["train", *SMALL, "--no-publish", "--quiet"],
    ["eval", "conversion", "--source", SOURCE, "--converters", "eq", "--split", "train-sec", "--no-probe", "--quiet"],
]


@pytest.fixture
def recordings(workspace: Path) -> Path:
    return write_recordings(workspace)


def write_recordings(workspace: Path) -> Path:
    """Write recordings of two devices, in two splits, into a workspace, and return it."""
    lines = ["path,device,label,split"]
    for split in ("train-mc", "train-sec"):
        for device in (SOURCE, TARGET):
            for index in range(3):
                name = f"{device}/a/{split}-{index}.wav"
                write_audio(workspace / "data" / name, noise(4.0, seed=index))
                lines.append(f"{name},{device},a,{split}")
    (workspace / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    return workspace


def environment(tmp_path: Path, home: Path | None) -> dict[str, str]:
    """Return one as a container has it: no names of users, and a folder of its own for temporary files."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(HOOK)
    (tmp_path / "temporary").mkdir()
    unset = (
        "HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
        "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR",  # torch sets them, also in the process of the tests
    )  # fmt: skip
    return {name: value for name, value in os.environ.items() if name not in unset} | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "hook"), str(PROJECT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(tmp_path / "temporary"),
        "HEARD": str(tmp_path / "heard"),
        **({"HOME": str(home)} if home else {}),
    }


@dataclass(frozen=True)
class Heard:
    """What the commands did where there is a home folder, or none."""

    run: "subprocess.CompletedProcess[str]"
    root: Path
    """Of `home`, `workspace` and `temporary`."""
    trace: Path | None
    """What strace wrote, where it may be used."""


@pytest.fixture(scope="module")
def heard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """Run commands that load everything: a network, OpenVINO, torch's training, matplotlib."""
    root = tmp_path_factory.mktemp("heard")
    (root / "home").mkdir()
    has_home = request.param == "home"
    listen = [] if has_home else strace(root / "trace")
    run = subprocess.run(
        [*listen, sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)],
        cwd=write_recordings(root / "workspace"),
        env=environment(root, root / "home" if has_home else None),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return Heard(run, root, root / "trace" if listen else None)


def strace(trace: Path) -> list[str]:
    """Return the command that listens to what native code sends, where there is one."""
    listen = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=connect,sendto,sendmsg"]
    # Without a filter in the kernel every call of the process stops it.
    for command in ([*listen, "--seccomp-bpf"], listen):
        if shutil.which("strace") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    return []


@pytest.mark.xdist_group("nothing goes out")
@pytest.mark.parametrize("heard", ["home", "neither home nor user"], indirect=True)
def test_commands_stay_where_they_are(heard: Heard) -> None:
    run, root = heard.run, heard.root
    codes, unwanted = json.loads(run.stdout.splitlines()[-1])
    assert codes == [0] * len(COMMANDS), run.stderr
    assert unwanted == []
    assert "atplotlib" not in run.stderr
    assert "openvino" not in run.stderr
    assert list((root / "home").rglob("*")) == []
    events = [line.split("\t") for line in (root / "heard").read_text().splitlines()]
    assert [entry for entry in events if entry[0].startswith("socket.")] == []
    allowed = (f"{root}/workspace/", f"{root}/temporary", "/dev/null")
    assert [entry for entry in events if not f"{entry[1]}/".startswith(allowed)] == []
    assert [entry for entry in events if entry[1].startswith(f"{root}/workspace/converted/")]  # the hook does hear
    assert not list((root / "temporary").glob("umc-*"))  # matplotlib's


@pytest.mark.xdist_group("nothing goes out")
@pytest.mark.parametrize("heard", ["neither home nor user"], indirect=True)
def test_native_code_connects_to_nothing(heard: Heard) -> None:
    if heard.trace is None:
        pytest.skip("strace is not there, or may not be used")
    assert [line for line in heard.trace.read_text(errors="replace").splitlines() if "AF_INET" in line] == []


def test_an_engine_that_cannot_be_loaded_is_replaced_and_the_report_says_so(
    recordings: Path, tmp_path: Path, run_script: Callable[..., Run]
) -> None:
    """A package `openvino` that is there but whose library is not."""
    broken = tmp_path / "broken/openvino/__init__.py"
    broken.parent.mkdir(parents=True)
    broken.write_text("raise ImportError('libopenvino.so: cannot open shared object file')\n")
    script = tmp_path / "umc.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(tmp_path / 'broken')!r})\n{MAIN}")
    command = [str(script), *COMMANDS[1][:-1], "--json", "--engine"]
    runs = {engine: run_script(*command, engine, cwd=recordings) for engine in ("openvino", "auto")}
    assert runs["openvino"].exit_code == 2
    assert "engine 'openvino' cannot be loaded: ImportError: libopenvino.so" in runs["openvino"].stderr
    assert "use --engine torch" in runs["openvino"].stderr
    assert runs["auto"].exit_code == 0, runs["auto"].stderr
    report = runs["auto"].json
    assert report["made_with"]["engine"] == "torch"
    (warning,) = [text for text in report["warnings"] if "openvino" in text]
    assert "using engine torch, which is slower" in warning
    assert "libopenvino.so" in warning
