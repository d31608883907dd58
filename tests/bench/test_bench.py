import dataclasses
import json

import numpy as np
import pytest
from medkern.bench import __main__ as command
from medkern.bench import case, cases, harness, libraries, oracle, peak, process, report, worker

from reference import conv as conv_reference

BEST = peak.Peak(gflops=100.0, gbytes=10.0)
SMALL = case.Case(
    "small", "conv3x3", "conv", {"x": [1, 2, 6, 5], "filters": 3, "kernel": 3, "prepared": False}
)


class FakeProcess:
    """A library in this process: the worker's own code, its messages lines of JSON as over a pipe."""

    def __init__(self, name, module):
        self.name, self.version, self.cpu = name, "0", 0.0
        self.worker = worker.Worker(libraries.OWN, 1)
        self.worker._module = module
        self.asked = []

    def send(self, do, **arguments):
        request = json.loads(json.dumps({"do": do, **arguments}))
        self.asked.append(do)
        try:
            self.answer = json.dumps(self.worker.answer(request))
        except Exception as error:
            self.answer = json.dumps({"error": str(error)})

    def receive(self):
        answer = json.loads(self.answer)
        if "error" in answer:
            raise harness.WorkerError(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, do, **arguments):
        self.send(do, **arguments)
        return self.receive()


class Oracle:
    """A library that is always right, but for `wrong`."""

    peak = staticmethod(peak.measure)

    def __init__(self, wrong=0.0, able=True):
        self.wrong, self.able = wrong, able

    def prepare(self, operation, sizes, arrays):
        if not self.able:
            return None
        return lambda: [x + self.wrong for x in operation.expected(sizes, arrays)]

    def context(self, sizes):
        return np.errstate()

    def arrays(self, result, operation, sizes):
        return result


@pytest.fixture
def fast(monkeypatch):
    for name in ("WARM_UP_SECONDS", "SAMPLE_SECONDS", "TURN_SECONDS", "CASE_SECONDS"):
        monkeypatch.setattr(harness, name, 1e-4)
    monkeypatch.setattr(peak, "_SECONDS", 1e-3)


def result(name="r", family="conv3x3", own=1.0, share=0.5, **peers):
    timings = {
        key: harness.Timing(seconds, 0.1, 7, 0.0) for key, seconds in {libraries.OWN: own, **peers}.items()
    }
    return harness.Result(name, family, 1, 1, 1.0, "GFLOP/s", share, timings)


# ---------------------------------------------------------------- running a case


def test_peers_are_checked_and_timed_in_turn(fast):
    processes = [FakeProcess(name, Oracle()) for name in (libraries.OWN, "torch", "ort")]
    found = harness.run(SMALL, processes, BEST)
    assert set(found.timings) == {libraries.OWN, "torch", "ort"} and not found.failures
    assert all(t.samples >= harness.FEWEST_ROUNDS and t.seconds > 0 for t in found.timings.values())
    assert set(found.ratios) == {"torch", "ort"}
    assert found.ratios["ort"] == found.timings["ort"].seconds / found.timings[libraries.OWN].seconds
    assert found.best[1] == min(found.ratios.values())
    for fake in processes:
        assert fake.asked[:3] == ["prepare", "result", "warm"] and fake.asked[-1] == "drop"


def test_a_wrong_result_is_not_timed(fast):
    with pytest.raises(harness.WrongResultError, match=r"small: relative error .*, allowed 2.00e-05"):
        harness.run(SMALL, [FakeProcess(libraries.OWN, Oracle(wrong=1.0))], BEST)
    processes = [FakeProcess(libraries.OWN, Oracle()), FakeProcess("torch", Oracle(wrong=1.0))]
    found = harness.run(SMALL, processes, BEST)
    assert set(found.timings) == {libraries.OWN} and "relative error" in found.failures["torch"]
    assert "sample" not in processes[1].asked


def test_a_peer_without_the_operation_is_left_out(fast):
    processes = [FakeProcess(libraries.OWN, Oracle()), FakeProcess("numpy", Oracle(able=False))]
    found = harness.run(SMALL, processes, BEST)
    assert set(found.timings) == {libraries.OWN} and not found.failures and found.best is None
    with pytest.raises(harness.WorkerError, match="small: medkern has no such operation"):
        harness.run(SMALL, [FakeProcess(libraries.OWN, Oracle(able=False))], BEST)


def test_a_case_names_its_peers(fast):
    only = case.Case("small", "conv3x3", "conv", SMALL.sizes, peers=("ort",))
    processes = [FakeProcess(name, Oracle()) for name in (libraries.OWN, "torch", "ort")]
    assert set(harness.run(only, processes, BEST).timings) == {libraries.OWN, "ort"}
    assert processes[1].asked == []


def test_errors_are_relative_to_the_largest_value():
    assert harness.error_of([np.array([1.0, 2.1])], [np.array([1.0, 2.0])], 0.06) == pytest.approx(0.05)
    assert harness.error_of([np.zeros(2)], [np.zeros(2)], 0.0) == 0
    for wrong in (np.nan, np.inf, 1.2):
        with pytest.raises(harness.WrongResultError):
            harness.error_of([np.array([wrong])], [np.ones(1)], 0.1)
    with pytest.raises(harness.WrongResultError, match=r"shapes \[\(1,\)\], expected \[\(2,\)\]"):
        harness.error_of([np.ones(1)], [np.ones(2)], 1.0)


@pytest.mark.parametrize("once", [1e-7, 1e-5, 1e-3, 0.02, 1.0])
def test_a_turn_fits_its_time(once):
    warm, samples, repeats = harness.turn(once)
    assert repeats * once >= harness.SAMPLE_SECONDS and samples >= 1
    assert samples * repeats * once < harness.TURN_SECONDS + harness.SAMPLE_SECONDS + once
    assert (warm == 0) == (once > 0.05)


# ---------------------------------------------------------------- what it comes to


def test_a_result_says_what_limits_the_case(fast, monkeypatch):
    operation = case.operation_of("conv")
    for work, unit, amount, best in [((10, 1000), "GB/s", 1000, 10), ((10**6, 1000), "GFLOP/s", 10**6, 100)]:
        monkeypatch.setattr(operation, "work", lambda s, work=work: work)
        found = harness.run(SMALL, [FakeProcess(libraries.OWN, Oracle())], BEST)
        assert found.unit == unit
        assert found.rate == pytest.approx(amount / found.timings[libraries.OWN].seconds / 1e9)
        assert found.share == pytest.approx(found.rate / best)


def test_the_geometric_mean():
    assert report.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert report.geometric_mean([3.0]) == pytest.approx(3.0)


def test_families_are_held_against_their_goals():
    results = [result("a", torch=1.0, ort=5.0), result("b", torch=4.0), result("c")]
    (row,) = report.summary(results)
    assert row["family"] == "conv3x3" and row["cases"] == 2 and row["goal"] == 2.0
    assert row["mean"] == pytest.approx(2.0) and row["least"] == 1.0 and row["met"]
    assert not report.summary([result(torch=1.9)])[0]["met"]


@pytest.mark.parametrize(("ratio", "share", "met"), [(1.3, 0.9, True), (1.3, 0.8, False), (1.1, 0.9, False)])
def test_some_families_have_both_goals(ratio, share, met):
    (row,) = report.summary([result(family="stream_float32", share=share, torch=ratio)])
    assert row["met"] == met and row["share"] == pytest.approx(share)


def test_a_family_may_have_no_goal():
    found = [result(family="gemm_float32", torch=0.1)]
    assert report.summary(found)[0]["met"] is None
    assert any("| gemm_float32: " in line and line.endswith("|  |  |") for line in report.markdown(found))


def test_families_that_differ_in_precision_have_one_heading():
    several = [
        dataclasses.replace(result(name, f"gemm_{p}"), precision=p) for name in "ab" for p in case.PRECISIONS
    ]
    assert sum(line == "-- gemm: square matrix products" for line in report.lines(several, [])) == 1


def test_slow_cases_are_named():
    results = [result("fast", torch=2.0), result("even", torch=0.92), result("slow", torch=0.5)]
    assert [r.name for r in report.slower(results)] == ["slow"]
    assert "  slow: 2.00 x torch" in list(report.summary_lines(results))


def test_the_page_holds_every_case():
    machine = {"processor": "P", "caches": {"L1d": "48K"}, "memory_gib": 1, "system": "S", "python": "3"}
    made = {
        "machine": {**machine, "date": "2000-01-01"},
        "peak": {"gflops": 100.0, "gbytes": 10.0},
        "libraries": {"medkern": "0", "torch": "2"},
        "threads": 2,
        "isa": "avx512",
    }
    lines = report.markdown([result("a", torch=3.0), result("b", torch=0.5)])
    page = "\n".join([*report.heading(made), *lines])
    assert "Libraries: medkern 0, torch 2." in page and "100 GFLOP/s" in page and "L1d 48K" in page
    assert "- b: 2.00 times torch" in page
    assert "| a | 1000.0 | 10.0% | 1.0 GFLOP/s | 50% | 3000.0 | 3.00 | 3.00 torch | 0.0e+00 |" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith(("| case", "| a", "| b"))}
    assert len(widths) == 1


# ---------------------------------------------------------------- the oracle


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 1, 1, 1), (2, 1, 1, 2), (1, 2, 2, 4), (3, 0, 1, 1)]
)
@pytest.mark.parametrize("size", [(9, 8), (5, 7, 6)])
def test_the_quick_oracle_is_the_slow_one(stride, padding, dilation, groups, size):
    rng = np.random.default_rng(0)
    rank = len(size)
    x, w = rng.standard_normal((2, 4, *size)), rng.standard_normal((8, 4 // groups, *(3,) * rank))
    every = ([stride] * rank, [(padding, padding)] * rank, [dilation] * rank, groups)
    y = conv_reference.conv(x, w, None, *every)
    one = (stride, padding, dilation, groups)
    dy = rng.standard_normal(y.shape)
    for found, expected in [
        (oracle.conv(x, w, None, *one), y),
        (oracle.conv_backward_input(dy, w, x.shape, *one), "conv_backward_input"),
        (oracle.conv_backward_weight(dy, x, w.shape, *one), "conv_backward_weight"),
    ]:
        if isinstance(expected, str):
            known = {"conv_backward_input": (dy, w, x.shape), "conv_backward_weight": (dy, x, w.shape)}
            expected = getattr(conv_reference, expected)(*known[expected], *every)
        np.testing.assert_allclose(found, expected, atol=1e-12)


# ---------------------------------------------------------------- the command


def test_peak_is_positive(fast):
    found = peak.measure()
    assert found.gflops > 0 and found.gbytes > 0


def test_peak_is_measured_again_while_others_disturb(fast, monkeypatch):
    times = iter([0.0, 100.0, 100.0, 100.0])  # others take 100 s during the first attempt, nothing later
    monkeypatch.setattr(harness.machine, "busy_seconds", lambda: next(times))
    running = FakeProcess(libraries.OWN, Oracle())
    assert harness.peak_of(running).gflops > 0
    assert running.asked == ["peak", "peak"]


def test_what_others_take_is_noticed(fast, monkeypatch):
    times = iter([0.0, 1e6])
    monkeypatch.setattr(harness.machine, "busy_seconds", lambda: next(times))
    found = harness.run(SMALL, [FakeProcess(libraries.OWN, Oracle())], BEST)
    assert found.disturbed > 1
    assert any("other programs took" in line for line in report.lines([found], []))
    assert any(line.startswith("Measured while other programs") for line in report.markdown([found]))
    monkeypatch.setattr(harness.machine, "busy_seconds", lambda: None)
    assert harness.Others([]).share() == 0


def test_the_command_runs_a_process_and_writes_its_files(fast, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "BY_DEVICE", {"cpu": {"conv": [SMALL]}})
    files = tmp_path / "results.json", tmp_path / "results.md"
    arguments = ["conv", "--threads", "2", "--json", str(files[0]), "--markdown", str(files[1])]
    assert command.main([*arguments, "--peers", "numpy"]) == 0
    made = json.loads(files[0].read_text())
    assert made["threads"] == 2 and made["libraries"]["numpy"] == np.__version__
    assert made["machine"]["processor"] and made["machine"]["date"]
    (row,) = made["results"]
    assert row["name"] == "small" and row["timings"]["medkern"]["seconds"] > 0 and made["peak"]["gflops"] > 0
    assert "small" in capsys.readouterr().out and "| small |" in files[1].read_text()


def test_a_process_says_what_went_wrong_and_goes_on():
    (running,) = process.start(["numpy"], 1)
    try:
        with pytest.raises(process.WorkerError, match="numpy: ValueError: no case is ready"):
            running.ask("sample", warm=0, samples=1, repeats=1)
        assert running.ask("prepare", name="a", operation="gemm", sizes={"m": 2, "n": 3, "k": 4})["able"]
        assert len(running.ask("sample", warm=1, samples=2, repeats=3)["seconds"]) == 2
        assert not running.is_lost
        running._process.kill()
        running._process.wait()
        with pytest.raises(process.WorkerError, match="numpy: its process has ended"):
            running.ask("drop")
        assert running.is_lost
        running.restart()
        assert running.ask("drop") == {} and not running.is_lost
    finally:
        process.close([running])


@pytest.mark.parametrize("error", [harness.WrongResultError("wrong"), KeyboardInterrupt()])
def test_what_was_measured_is_kept(fast, tmp_path, capsys, monkeypatch, error):
    several = [case.Case(name, "conv3x3", "conv", SMALL.sizes) for name in ("first", "second", "third")]
    monkeypatch.setattr(command, "BY_DEVICE", {"cpu": {"conv": several}})
    monkeypatch.setattr(harness, "peak_of", lambda process: BEST)
    run, file = harness.run, tmp_path / "r.json"

    def failing(case, *more):
        if case.name == "second":
            raise error
        return run(case, *more)

    monkeypatch.setattr(harness, "run", failing)
    assert command.main(["--threads", "1", "--json", str(file)]) == 1
    made = json.loads(file.read_text())
    names = [row["name"] for row in made["results"]]
    if isinstance(error, KeyboardInterrupt):
        assert made["failed"] == {"interrupted": "after 1 of 3 cases"} and names == ["first"]
    else:
        assert made["failed"] == {"second": "wrong"} and names == ["first", "third"]
        assert "bench: second: wrong" in capsys.readouterr().err


def test_what_cases_of_several_precisions_give_is_computed_once():
    computed = []

    class Operation:
        Sizes = dict

        def draw(self, sizes, rng):
            return {}

        def expected(self, sizes, arrays):
            computed.append(sizes)
            return [np.zeros(1)]

    several = [case.Case("a", "f", "o", {}, None, p) for p in case.PRECISIONS] + [
        case.Case("b", "f", "o", {})
    ]
    known = harness.Expected(several)
    for each in several:
        known.of(each, Operation(), {})
    assert len(computed) == 2 and not known._kept


def test_bad_arguments(capsys):
    for arguments, message in [
        (["--device", "cuda", "--scaling"], "are measured on the CPU"),
        (
            ["--device", "cuda", "--precision", "float8"],
            "unknown precision 'float8'; there are float32, tf32",
        ),
        (["--device", "cuda", "--precision", "bf16", "cell_float32"], "no case has the precision bf16"),
        (["--device", "cuda", "--peers", "ort"], "unknown peer 'ort'; there are torch, torch-cl"),
        (["nothing"], "unknown family 'nothing'; there are"),
        (["--threads", "0"], "count must be from 1"),
        (["--case", "nothing"], "no case is named nothing"),
        (["--peers", "torch,jax"], "unknown peer 'jax'; there are torch,"),
    ]:
        assert command.main(arguments) == 2
        assert message in capsys.readouterr().err


def test_cases_are_chosen_by_kind_family_and_name(capsys):
    kinds = {c.name for c in command.chosen(["conv"], None)}
    assert "unet64_enc1" in kinds and "square128" not in kinds
    assert {c.family for c in command.chosen(["first", "gemm"], None)} == {"first", "gemm", "linear"}
    assert [c.name for c in command.chosen([], ["unet64_enc?_plain"])] == [
        f"unet64_enc{i}_plain" for i in range(1, 6)
    ]
    assert command.main(["--list", "--case", "square128"]) == 0
    assert capsys.readouterr().out.split() == ["gemm", "square128"]


@pytest.mark.parametrize("device", cases.BY_DEVICE)
def test_cases_have_names_of_their_own(device):
    titles = [c.title for kind in cases.BY_DEVICE[device].values() for c in kind]
    assert len(set(titles)) == len(titles)


def test_cases_have_known_families():
    assert {c.family for c in cases.CASES} == set(cases.FAMILIES)
    for c in cases.CASES:
        assert json.loads(json.dumps(c.sizes)) is not None
        case.operation_of(c.operation).Sizes(**c.sizes)
