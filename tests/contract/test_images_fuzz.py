"""Two seconds of mutated images; `python -m tests.fuzz_images` reads ten thousand."""

from tests.fuzz_images import fuzz, input_of


def test_each_is_an_image_or_one_sentence() -> None:
    result = fuzz(500, seed=0)
    assert not result.failures and result.seen.total() == 500
    assert {"JPEG", "PNG", "BMP", "TIFF", "DICOM", "damaged", "refused"} <= set(result.seen), result.seen


def test_a_seed_makes_the_same_inputs() -> None:
    assert (
        [input_of(7, i) for i in range(50)]
        == [input_of(7, i) for i in range(50)]
        != [input_of(8, i) for i in range(50)]
    )
