"""The board catalogue against FINN's own tables, and every damaged entry as one sentence."""

from pathlib import Path

import pytest
from finn.util.basic import pynq_native_port_width, pynq_part_map
from finn.util.platforms import DEFAULT_RES_LIMITS, platforms

from contract.errors import ConfigError
from finn_build.targets.boards import BOARDS, BOARDS_FILE, Board, load_boards

# Where FINN's platforms and our table differ: (resource, FINN's figure, ours).
#   ZU7EV, ZU9EG: the vendor tool's own count is a little more than FINN's rounded one.
#   ZU3EG: FINN has rounded figures; ours are the data sheet's as generally known (uncertain, see boards.toml).
FINN_ROUNDS = {
    "zcu104": {("lut", 230_000, 230_400), ("ff", 460_000, 460_800), ("bram18", 610, 624), ("uram", 92, 96)},
    "ultra96-v2": {("lut", 71_000, 70_560), ("ff", 142_000, 141_120), ("bram18", 412, 432)},
    "zcu102": {("lut", 274_000, 274_080), ("ff", 548_000, 548_160)},
}
SAME_PART = {"Ultra96-V2": "Ultra96"}  # FINN lists resources for the first version only; the die is the same


def test_the_boards_of_the_catalogue() -> None:
    assert set(BOARDS) >= {"pynq-z2", "zcu104", "pynq-z1", "ultra96-v2", "kv260", "zcu102"}


@pytest.mark.parametrize("board", [b for b in BOARDS.values() if b.finn_name], ids=lambda board: board.name)
class TestAgainstFinn:
    def test_part_and_port(self, board: Board) -> None:
        assert board.part == pynq_part_map[board.finn_name]
        assert board.dma_bits == pynq_native_port_width[board.finn_name]

    def test_the_board_file_is_the_one_that_finn_sets(self, board: Board) -> None:
        from finn.transformation.fpgadataflow import templates

        source = Path(str(templates.__file__)).read_text(encoding="utf-8")
        assert f"set_property board_part {board.board_parts[0]} " in source

    def test_resources_differ_only_where_finn_rounds(self, board: Board) -> None:
        assert board.finn_name is not None
        name = SAME_PART.get(board.finn_name, board.finn_name)
        if name not in platforms:
            assert board.name == "kv260"  # FINN has no entry
            return
        theirs = dict(zip(("lut", "ff", "bram18", "uram", "dsp"), platforms[name]().compute_resources[0], strict=True))
        differ = {(key, count, getattr(board, key)) for key, count in theirs.items() if count != getattr(board, key)}
        assert differ == FINN_ROUNDS.get(board.name, set())

    def test_the_budget_is_finns_guideline(self, board: Board) -> None:
        shares = [getattr(board.budget, key) for key in ("lut", "ff", "bram18", "uram", "dsp")]
        assert shares == DEFAULT_RES_LIMITS.tolist()


def test_usable_resources() -> None:
    assert BOARDS["pynq-z2"].usable == {"lut": 37_240, "ff": 53_200, "bram18": 224, "dsp": 176, "uram": 0}


@pytest.mark.parametrize(
    ("board", "pixels", "per_beat", "cycles"),
    [("pynq-z2", 784, 8, 98), ("zcu104", 784, 16, 49), ("pynq-z2", 36, 4, 9), ("zcu104", 27 * 27, 1, 729)],
)
def test_the_widest_stream_whose_beats_divide_an_image(board: str, pixels: int, per_beat: int, cycles: int) -> None:
    assert BOARDS[board].stream_pixels(pixels) == per_beat
    assert BOARDS[board].stream_cycles(pixels) == cycles


def test_a_board_may_have_its_own_budget(tmp_path: Path) -> None:
    own = "\n[boards.zcu102.budget]\nlut = 0.5\nff = 0.5\nbram18 = 0.5\ndsp = 1.0\nuram = 1.0\n"
    path = tmp_path / "boards.toml"
    path.write_text(BOARDS_FILE.read_text(encoding="utf-8") + own, encoding="utf-8")
    boards = load_boards(path)
    assert boards["zcu102"].usable["lut"] == 137_040 and boards["zcu104"] == BOARDS["zcu104"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lut = 53_200", "", "'lut' of board 'pynq-z2' is missing"),
        ("lut = 53_200", "lut = 0", "'lut' of board 'pynq-z2' is 0, expected greater than 0"),
        ("lut = 53_200", "lut = 53200.5", "'lut' of board 'pynq-z2' is 53200.5, expected a valid integer"),
        ("lut = 53_200", "luts = 53_200", "'lut' of board 'pynq-z2' is missing"),
        ("uram = 96", "uram = 96\nrom = 1", "'rom' of board 'zcu104' is no field, expected board_parts, bram18,"),
        ("dma_bits = 64 ", "dma_bits = 65 ", "'dma_bits' of board 'pynq-z2' is 65, expected 32, 64 or 128"),
        (
            'part = "xc7z020clg400-1"',
            'part = "xa7z020clg400-1"',
            "is 'xa7z020clg400-1', expected a part that begins with xc7z or xczu",
        ),
        ('part = "xc7z020clg400-1"', 'part = "a b"', "'part' of board 'pynq-z2' is 'a b', string should match pattern"),
        ('["tul.com.tw:pynq-z2:part0:1.0"]', "[]", "'board_parts' of board 'pynq-z2' is [], list should have"),
        ('["tul.com.tw:pynq-z2:part0:1.0"]', '["z2"]', "'board_parts.0' of board 'pynq-z2' is 'z2', string should"),
        ("lut = 0.70", "lut = 1.70", "'budget.lut' of board 'pynq-z2' is 1.7, expected less than or equal to 1"),
        ("PCW_APU_PERIPHERAL_FREQMHZ", "PSW_X", "of board 'pynq-z2' is 'PSW_X', string should match pattern"),
        ('"16 Bit"', '"}; exit"', "PCW_UIPARAM_DDR_BUS_WIDTH.constrained-str' of board 'pynq-z2' is '}; exit'"),
        ("[budget]", "[margin]", "holds 'margin', 'boards' at its top, expected tables 'budget'"),
        ("[boards.zcu104]", "[boards.ZCU104]", "'name' of board 'ZCU104' is 'ZCU104', string should match pattern"),
        ("[boards.zcu104]", "[boards.zcu104", "is not readable TOML"),
        ("[boards.pynq-z2]", '[boards.pynq-z2]\nname = "z2"', "expected a table without a 'name' of its own"),
    ],
)
def test_a_damaged_entry_is_one_sentence(tmp_path: Path, old: str, new: str, words: str) -> None:
    path, text = tmp_path / "boards.toml", BOARDS_FILE.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_boards(path)
    message = str(caught.value)
    assert words in message and str(path) in message and "\n" not in message and message.endswith(".")


def test_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"boards\.toml is not readable TOML: .*No such file"):
        load_boards(tmp_path / "boards.toml")
