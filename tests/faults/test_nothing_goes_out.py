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
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.samples import SOURCE, TARGET, noise, write_audio

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


@pytest.mark.parametrize("has_home", [True, False], ids=["home", "neither home nor user"])
def test_commands_stay_where_they_are(recordings: Path, tmp_path: Path, has_home: bool) -> None:
    """Commands that load everything: a network, OpenVINO, torch's training, matplotlib."""
    home = tmp_path / "home"
    home.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)],
        cwd=recordings,
        env=environment(tmp_path, home if has_home else None),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    codes, unwanted = json.loads(run.stdout.splitlines()[-1])
    assert codes == [0] * len(COMMANDS), run.stderr
    assert unwanted == []
    assert "atplotlib" not in run.stderr
    assert "openvino" not in run.stderr
    assert list(home.rglob("*")) == []
    heard = [line.split("\t") for line in (tmp_path / "heard").read_text().splitlines()]
    assert [entry for entry in heard if entry[0].startswith("socket.")] == []
    allowed = (f"{recordings}/", f"{tmp_path}/temporary", "/dev/null")
    assert [entry for entry in heard if not f"{entry[1]}/".startswith(allowed)] == []
    assert [entry for entry in heard if entry[1].startswith(f"{recordings}/converted/")]  # the hook does hear
    assert not list((tmp_path / "temporary").glob("umc-*"))  # matplotlib's


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_native_code_connects_to_nothing(recordings: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    listen = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=connect,sendto,sendmsg"]
    can = subprocess.run([*listen, "true"], capture_output=True)
    if can.returncode != 0:
        pytest.skip("strace may not be used here")
    command = [*listen, sys.executable, "-m", "umc_cli", *COMMANDS[1]]
    run = subprocess.run(
        command, cwd=recordings, env=environment(tmp_path, None), capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert [line for line in trace.read_text(errors="replace").splitlines() if "AF_INET" in line] == []


def test_an_engine_that_cannot_be_loaded_is_replaced_and_the_report_says_so(recordings: Path, tmp_path: Path) -> None:
    """A package `openvino` that is there but whose library is not."""
    broken = tmp_path / "broken/openvino/__init__.py"
    broken.parent.mkdir(parents=True)
    broken.write_text("raise ImportError('libopenvino.so: cannot open shared object file')\n")
    paths = os.pathsep.join([str(tmp_path / "broken"), str(PROJECT)])
    command = [sys.executable, "-m", "umc_cli", *COMMANDS[1][:-1], "--json", "--engine"]
    runs = {
        engine: subprocess.run(
            [*command, engine],
            cwd=recordings,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=300,
        )
        for engine in ("openvino", "auto")
    }
    assert runs["openvino"].returncode == 2
    assert "engine 'openvino' cannot be loaded: ImportError: libopenvino.so" in runs["openvino"].stderr
    assert "use --engine torch" in runs["openvino"].stderr
    assert runs["auto"].returncode == 0, runs["auto"].stderr
    report = json.loads(runs["auto"].stdout)
    assert report["made_with"]["engine"] == "torch"
    (warning,) = [text for text in report["warnings"] if "openvino" in text]
    assert "using engine torch, which is slower" in warning
    assert "libopenvino.so" in warning
