"""benchmarks.random_networks, on a few networks: it draws the same ones again, and finds the faults that it is for."""

import pytest

from benchmarks.random_networks import draw, main, run, taken_back
from finn_build import portable_rtl
from finn_build.finn_session import finn_session

SEED, HELD_BACK, ONE_SIGN = 0, 12, 182  # a layer with a vector per beat and a slow one behind it; weights of one sign
SEED_OF_WINDOWS = 1


@pytest.mark.slow
def test_a_network_is_equal() -> None:
    assert run(SEED, HELD_BACK, None, None)[2] == ""


@pytest.mark.slow
def test_the_queue_of_finn_is_found() -> None:
    assert "Overflowing output queue" in run(SEED, HELD_BACK, "queue", None)[2]


@pytest.mark.slow
def test_unsigned_weights_are_found_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--seed", str(SEED), "--without", "signs", "--jobs", "1", "--only", str(ONE_SIGN)]
    assert main(given) == 1
    out = capsys.readouterr().out
    assert f"networks of seed {SEED}" in out
    assert f"network {ONE_SIGN}: " in out and "of 40 integers differ, first image" in out
    assert f"python -m benchmarks.random_networks --seed {SEED} --without signs --only {ONE_SIGN}" in out
    assert "1 of 1 networks, 1 failed" in out


@pytest.mark.slow
@pytest.mark.parametrize(("without", "found"), [(None, ""), ("window", "the design stops")])
def test_a_network_with_convolutions_is_equal_and_a_wrong_window_found(without: str | None, found: str) -> None:
    wrong = run(SEED_OF_WINDOWS, 1, without, None, "cnn")[2]
    assert found in wrong if found else not wrong


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_an_index_is_always_the_same_network(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with finn_session(tmp_path_factory.mktemp("finn")):
        first, again, other = draw(5, 3, kind), draw(5, 3, kind), draw(5, 4, kind)
    assert first.about == again.about != other.about
    assert (first.golden.outputs == again.golden.outputs).all()


def test_taking_back_ends() -> None:
    before = portable_rtl.EDITS
    with taken_back("queue"):
        assert portable_rtl.QUEUE not in portable_rtl.EDITS
    assert before == portable_rtl.EDITS
