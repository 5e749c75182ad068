"""The harness of the load benchmark: what it measures, that it believes nobody, and what it reports. No network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.orders import orders
from support.waiting import wait_until

# Last, since a benchmark may be called as a library is: avro.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import environments
import latency
import load
import orjson
import report
import rounds
from contender import Contender
from contenders import BARE, CONTENDERS
from environments import PEERS, VERSIONS, last_line
from environments import run as run_installer
from process_tree import ContenderFailedError, Run, measured
from rounds import Score, Topic, verify

TOPIC = Topic("orders", 1_000, 4)
BARE_ONE = next(each for each in CONTENDERS if each.name == BARE)
OTHER = Contender("another", "another.py", "a frame", "no store", most_records=100)


def run(seconds: float, cpu: float = 1.0, peak: float = 10.0) -> Run:
    """Return a run that took as long."""
    return Run(seconds, seconds + 1, cpu, peak, {})


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended may wait for its parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that measures a program."""
    place = tmp_path / "place"
    place.mkdir()

    def measure(source: str, limit: float = 60.0) -> Run:
        file = tmp_path / "program.py"
        file.write_text(source)
        return measured([sys.executable, file], place, {"PYTHONPATH": str(PEERS)}, limit)

    return measure


def test_expected_is_the_fold_of_what_is_produced() -> None:
    """The figures that results are verified by are those of the last value of each key."""
    topic = Topic("orders", 12_345, 4)
    latest = {key: orjson.loads(value)["amount"] for key, value in orders(topic.records, topic.keys)}
    cents = sum(round(amount * 100) for amount in latest.values())
    assert topic.expected() == {"records": 12_345, "keys": len(latest), "cents": cents}


@pytest.mark.parametrize("wrong", [{"keys": 199}, {"cents": 1}, {"keys": None}])
def test_a_wrong_result_is_a_failure(wrong: dict[str, int]) -> None:
    """Neither keys nor amounts may differ or be missing; of who keeps no rows the records count."""
    expected = TOPIC.expected()
    verify(expected, expected, keeps_rows=True)
    verify({"records": 1_000}, expected, keeps_rows=False)
    with pytest.raises(ContenderFailedError, match="wrong result"):
        verify(expected | wrong, expected, keeps_rows=True)
    with pytest.raises(ContenderFailedError, match="records 999"):
        verify({"records": 999}, expected, keeps_rows=False)


def test_a_program_is_measured_by_its_own_stamps(program: Callable[..., Run]) -> None:
    """Wall time is the program's, CPU time that between the stamps, memory and CPU those of its children too."""
    found = program(
        "import subprocess, sys, time\n"
        "sum(range(5_000_000))\n"
        "from stamps import begin, end, result\n"
        "begin()\n"
        "subprocess.run([sys.executable, '-c', 'x = bytes(range(256)) * 200_000; sum(x)'], check=True)\n"
        "end()\n"
        "result([1.25, 2.5])\n"
        "time.sleep(60)\n"
    )
    assert found.result == {"keys": 2, "cents": 375}
    assert 0 < found.seconds < found.seconds_with_start
    assert found.cpu_seconds > 0
    assert found.peak_mb > 5


def test_cpu_time_before_the_start_of_reading_does_not_count(program: Callable[..., Run]) -> None:
    """What importing takes is not what reading takes."""
    found = program(
        "import os\n"
        "while sum(os.times()[:2]) < 0.5: pass\n"
        "from stamps import begin, end, say\n"
        "begin()\n"
        "end()\n"
        "say(records=1)\n"
    )
    assert found.cpu_seconds < 0.4


def test_a_program_that_ends_at_once_is_measured_all_the_same(program: Callable[..., Run]) -> None:
    """It waits for the harness, which looks up CPU time and memory while it is there."""
    found = program(
        "import os\n"
        "from stamps import begin, end, say\n"
        "begin()\n"
        "while sum(os.times()[:2]) < 0.3: pass\n"
        "end()\n"
        "say(records=1)\n"
        "os._exit(0)\n"
    )
    assert 0 < found.cpu_seconds < 0.6
    assert found.peak_mb > 5


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no such topic')", "it ended without a result: ValueError: no such topic"),
        ("print('ready when you are')", "it ended without a result: ready when you are"),
    ],
)
def test_a_failure_has_the_last_word_of_the_program(
    program: Callable[..., Run], source: str, message: str
) -> None:
    """Whoever ends without a result has failed, and it is said why."""
    with pytest.raises(ContenderFailedError, match=message):
        program(source)


def test_who_takes_too_long_has_failed(program: Callable[..., Run]) -> None:
    """The time limit ends it."""
    with pytest.raises(ContenderFailedError, match=r"no result within 0\.5 s"):
        program("import time; time.sleep(60)", limit=0.5)


def test_what_a_program_has_started_ends_with_it(program: Callable[..., Run], tmp_path: Path) -> None:
    """No process is left, even where the program has ended before its children."""
    with pytest.raises(ContenderFailedError):
        program(
            "import subprocess, sys, pathlib\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdout=subprocess.DEVNULL)\n"
            f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        )
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_alive(child), "the child to end")


def test_who_fails_once_has_no_result_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """All run once before any runs again; who has failed does not run again."""
    ran: list[str] = []

    def fake(command: list[str], place: Path, *_: object) -> Run:
        assert list(place.iterdir()) == []
        ran.append(Path(command[1]).stem)
        if ran.count("another"):
            return Run(1, 2, 1, 1, {"keys": 1, "cents": 1, "records": 1_000})
        return Run(1, 2, 1, 1, TOPIC.expected())

    monkeypatch.setattr(rounds, "measured", fake)
    told: list[str] = []
    scores = rounds.interleaved([(BARE_ONE, TOPIC), (OTHER, TOPIC)], "localhost:1", 2, told.append)
    assert ran == ["bare", "another", "bare"]
    assert [len(score.runs) for score in scores] == [2, 0]
    assert (scores[1].failure or "").startswith("wrong result: keys 1, expected 200")
    assert any("wrong result" in line for line in told)


def test_who_cannot_be_installed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installer's error is the reason; it does not run, and the others do."""

    def fail(_: Contender) -> None:
        run_installer([sys.executable, "-c", "raise SystemExit('ERROR: no such package')"])

    monkeypatch.setattr(Contender, "made", fail)
    told: list[str] = []
    (score,) = rounds.interleaved([(OTHER, TOPIC)], "localhost:1", 2, told.append)
    assert score.failure == "could not be installed: ERROR: no such package"
    assert told == ["another: could not be installed: ERROR: no such package"]


def test_an_environment_is_made_anew_when_its_versions_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is made once for the same ones; a half of one that could not be made is never taken for whole."""
    made: list[str] = []

    def install(place: Path, wanted: dict[str, list[str]]) -> None:
        assert list(place.iterdir()) == []
        made.extend(wanted["python"])
        (place / "venv").mkdir()
        if wanted["python"] == ["broken==1"]:
            run_installer([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr(environments, "PLACE", tmp_path / "envs")
    monkeypatch.setattr(environments, "VERSIONS", tmp_path / "versions.toml")
    monkeypatch.setattr(environments, "_install", install)
    for wanted in ("one==1", "one==1", "one==2"):
        (tmp_path / "versions.toml").write_text(f'[one]\npython = ["{wanted}"]\n')
        assert environments.environment("one").versions == (wanted,)
    assert made == ["one==1", "one==2"]
    (tmp_path / "versions.toml").write_text('[one]\npython = ["broken==1"]\n')
    for _ in range(2):
        with pytest.raises(environments.EnvironmentUnavailableError):
            environments.environment("one")
    assert made[2:] == ["broken==1", "broken==1"]


def test_a_report_ranks_medians_and_leaves_nobody_out() -> None:
    """The quickest comes first by its time for a record; ratios are those of medians; a failure is reported with its reason."""
    bare = Score(BARE_ONE, TOPIC, [run(1.0), run(9.0), run(2.0)])
    slow = Score(
        OTHER, Topic("orders-100", 100, 4), [run(0.5, cpu=0.25, peak=2_048)], versions=("another==1.0",)
    )
    lost = Score(CONTENDERS[2], TOPIC, failure="no result within 300 s: `stuck`")
    text = report.text([lost, slow, bare])
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["bare", "another", "ktframe"]
    assert "2.50" in text.splitlines()[2]
    assert "failed: no result within 300 s" in text
    written = report.results([lost, slow, bare], TOPIC, 3, "2026-11-30", {"cores": "2"})
    assert "| bare consume(), tuned | 2.00 | 1.00 | 1.00 | 10 | 3.0 |" in written
    assert "| another (100 records) | 0.50 | 2.50 | 0.25 | 2,048 | 1.5 |" in written
    assert "* ktframe: `no result within 300 s: 'stuck'`" in written
    assert "* cores: 2" in written
    assert "| another | a frame | no store | another==1.0 |" in written.replace(" (100 records)", "")
    assert "1,000 JSON orders" in written


def test_a_slow_contender_has_a_topic_of_its_own() -> None:
    """It is as large as it can bear; the topics of a small run are the same for all."""
    pairs = dict(load.topics_of([BARE_ONE, OTHER], TOPIC))
    assert pairs[BARE_ONE] == TOPIC
    assert pairs[OTHER] == Topic("orders-100", 100, 4)
    assert set(dict(load.topics_of([BARE_ONE, OTHER], Topic("few", 50, 4))).values()) == {Topic("few", 50, 4)}


def test_the_history_keeps_ratios_of_which_more_is_better() -> None:
    """Of ktframe against the limit and of others against ktframe, by what each record takes; none where either failed."""
    ktframe = next(each for each in CONTENDERS if each.name == load.KTFRAME)
    bare = Score(BARE_ONE, TOPIC, [run(1.0, cpu=1.0)])
    ours = Score(ktframe, TOPIC, [run(4.0, cpu=2.0)])
    other = Score(OTHER, Topic("orders-100", 100, 4), [run(0.8)])
    kept = load.ratios([bare, ours, other])
    assert kept == {
        "rate / bare consume()": 0.25,
        "CPU s of bare consume() / CPU s": 0.5,
        "another / ktframe": 2.0,
    }
    assert load.ratios([Score(BARE_ONE, TOPIC, failure="no broker"), ours]) == {}


def test_names_choose_contenders() -> None:
    """A part of a name is enough, in any case; no name chooses all."""
    assert load.chosen([]) == list(CONTENDERS)
    assert [each.name for each in load.chosen(["KTABLE,", "quix"])] == [
        "Kafka Streams, KTable, 1 thread",
        "Quix Streams",
    ]


def test_percentiles_are_values_that_were_seen() -> None:
    """The greatest is the last one, not beyond it."""
    values = [float(each) for each in range(100, 0, -1)]
    assert [latency.percentile(values, share) for share in (0.5, 0.99, 1.0)] == [51.0, 100.0, 100.0]
    assert latency.percentile([7.0], 0.99) == 7.0


def test_every_contender_has_its_program_and_its_versions() -> None:
    """Names are unique; programs are there; versions are pinned in the one file, and none is left over."""
    names = [each.name for each in CONTENDERS]
    assert len(set(names)) == len(names)
    assert {each.program for each in CONTENDERS} <= {path.name for path in PEERS.iterdir()}
    pinned = {line.strip("[]") for line in VERSIONS.read_text().splitlines() if line.startswith("[")}
    assert pinned == {each.environment for each in CONTENDERS} - {None}


def test_the_last_word_of_an_installer_is_its_error() -> None:
    """A notice after the error does not hide it."""
    assert (
        last_line("start\nERROR: No matching distribution\n[notice] a new pip\n")
        == "ERROR: No matching distribution"
    )
    assert last_line("") == "it said nothing"


def test_the_section_about_memory_stays_the_last_one_whatever_is_measured() -> None:
    """Two benchmarks write one file: neither takes from it what the other has found."""
    first = report.with_section("# Loads\n\nold\n", report.MEMORY, "\nmuch\n")
    assert (
        report.with_section(first, report.MEMORY, "\nlittle\n")
        == f"# Loads\n\nold\n\n{report.MEMORY}\n\nlittle\n"
    )
    kept = report.section_of(first, report.MEMORY)
    assert (
        report.with_section("# Loads\n\nnew\n", report.MEMORY, kept)
        == f"# Loads\n\nnew\n\n{report.MEMORY}\n\nmuch\n"
    )
