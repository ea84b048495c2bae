"""What each tag of a TIFF does to the picture: obeyed, of one value only, never, or nothing. The rest is refused.

OBEYED tags are read in contract.images.tiff, which obeys or refuses their values. A tag of ONLY must have one of those
values. NEVER tags change values or geometry, or say that the picture is not the whole of it. NOTHING tags are history,
place, rights, units and settings of what the file does not have: other readers give the same pixels with them. Any
other tag is refused, by its number: nobody here knows whether it changes what the values mean, as the display ranges of
Gatan's and Andor's private tags do.

Source: TIFF 6.0 and its supplements, TIFF/EP, TIFF-FX, DNG 1.7, EXIF 3.0, and Library of Congress' and libtiff's lists
of private tags.
"""

from collections.abc import Iterable, Mapping

OBEYED = {
    254, 256, 257, 258, 259, 262, 270, 273, 274, 277, 278, 279, 280, 281, 284, 317, 320, 322, 323, 324, 325, 338, 339,
    340, 341, 700, 34665, 34675, 42112, 42240, 50838, 50839, 51123,
}  # fmt: skip

ONLY: Mapping[int, tuple[tuple[int, ...], str, str]] = {
    255: ((1, 3), "SubfileType", "a reduced copy of another image"),
    263: ((1,), "Threshholding", "dots in place of gray levels"),
    266: ((1,), "FillOrder", "bits in reversed order"),
    332: ((1,), "InkSet", "inks that are not CMYK"),
    334: ((4,), "NumberOfInks", "inks that are not CMYK"),
    346: ((0,), "Indexed", "samples that are colours of a palette"),
    351: ((0,), "OPIProxy", "a reduced copy of another image"),
    32995: ((0,), "Matteing", "an old kind of alpha"),
    32996: ((2,), "DataType", "samples that are no unsigned integers"),
    32997: ((1,), "ImageDepth", "a volume of several slices"),
    32998: ((1,), "TileDepth", "a volume of several slices"),
}

NEVER: Mapping[int, tuple[str, str]] = {  # asked in this order
    50706: ("DNGVersion", "raw values of a camera"),
    291: ("GrayResponseCurve", "a curve of gray levels"),
    300: ("ColorResponseUnit", "a curve of its values"),
    301: ("TransferFunction", "a curve of its values"),
    321: ("HalftoneHints", "a range of its own for black and white"),
    330: ("SubIFDs", "further images"),
    336: ("DotRange", "a range of its own for its inks"),
    342: ("TransferRange", "a range of its own for its curve"),
    343: ("ClipPath", "an outline beyond which it is cut off"),
    433: ("Decode", "a range of its own for its samples"),
    434: ("DefaultImageColor", "further layers"),
    530: ("YCbCrSubSampling", "colours of fewer pixels than it has"),
    532: ("ReferenceBlackWhite", "a range of its own for black and white"),
    559: ("StripRowCounts", "strips of different heights"),
    769: ("GDIGamma", "a gamma of its own"),
    20506: ("ColorTransferFunction", "a curve of its values"),
    32956: ("AffineTransformMat", "a transformation"),
    33300: ("ImageFullWidth", "a part of a larger image"),
    33301: ("ImageFullLength", "a part of a larger image"),
    33421: ("CFARepeatPatternDim", "raw values of a camera"),
    33422: ("CFAPattern", "raw values of a camera"),
    33424: ("KodakIFD", "raw values of a camera"),
    33445: ("MDFileTag", "values that may be square roots"),
    33446: ("MDScalePixel", "a scale of its values"),
    33628: ("UIC1tag", "further planes, or a range of its own for black and white"),
    33629: ("UIC2tag", "further planes"),
    34027: ("PixelIntensityRange", "a range of its own for black and white"),
    34361: ("MM_Header", "further planes"),
    34412: ("CZ_LSMINFO", "further planes"),
    34732: ("ImageLayer", "further layers"),
    34856: ("OECF", "a curve of its values"),
    34857: ("Interlace", "a field of several"),
    37439: ("StoNits", "a scale of its own for brightness"),
    41730: ("CFAPattern", "raw values of a camera"),
    42113: ("GDAL_NODATA", "a value that stands for none"),
    43314: ("NIHImageHeader", "further planes, or a scale of its values"),
    50255: ("Annotations", "drawings over it"),
    50561: ("USPTO_RotationCode", "a rotation"),
    50710: ("CFAPlaneColor", "raw values of a camera"),
    50711: ("CFALayout", "raw values of a camera"),
    50712: ("LinearizationTable", "a curve of its values"),
    50713: ("BlackLevelRepeatDim", "a black of its own"),
    50714: ("BlackLevel", "a black of its own"),
    50715: ("BlackLevelDeltaH", "a black of its own"),
    50716: ("BlackLevelDeltaV", "a black of its own"),
    50717: ("WhiteLevel", "a white of its own"),
    50718: ("DefaultScale", "pixels that are not square"),
    50719: ("DefaultCropOrigin", "a margin that is no part of the picture"),
    50720: ("DefaultCropSize", "a margin that is no part of the picture"),
    50730: ("BaselineExposure", "a brightness of its own"),
    50734: ("LinearResponseLimit", "a white of its own"),
    50739: ("ShadowScale", "a black of its own"),
    50829: ("ActiveArea", "a margin that is no part of the picture"),
    50830: ("MaskedAreas", "a margin that is no part of the picture"),
    50831: ("AsShotICCProfile", "a colour profile of raw values"),
    50833: ("CurrentICCProfile", "a colour profile of raw values"),
    50940: ("ProfileToneCurve", "a curve of its values"),
    51008: ("OpcodeList1", "steps that are still to be done"),
    51009: ("OpcodeList2", "steps that are still to be done"),
    51022: ("OpcodeList3", "steps that are still to be done"),
    51109: ("BaselineExposureOffset", "a brightness of its own"),
    51110: ("DefaultBlackRender", "a black of its own"),
    51125: ("DefaultUserCrop", "a margin that is no part of the picture"),
}

_NOTHING: Mapping[str, Iterable[int | range]] = {
    "what and whose it is": (11, 269, 271, 272, 285, 305, 306, 315, 316, 800, 33432, 33723, 34152, 37395, 50547),
    "where it stands on a page, and on which": (282, 283, 286, 287, 296, 297),
    "unused space": (288, 289, 59932, 59933),
    "sizes of dots and units of curves, where there are none": (264, 265, 290, 344, 345),
    "fax: its options, and how well it came": (292, 293, 326, 327, 328, 34908, 34909, 34910, 34911),
    "inks by name, where it is to be printed": (333, 337, 50341),
    "what colours are to the eye: gray is that of the values": (318, 319, 529, 531, 770, 771),
    "tables of compressions that are refused": (347, 437),
    "Photoshop's settings and layers, of which the picture is the sum": (34377, 37724),
    "Windows: ratings, titles, thumbnails, settings of its printer and of the JPEG that it was": (
        range(18246, 18250), range(20481, 20506), range(20507, 20540), 20624, 20625, 20752, 20753, 20754,
        range(40091, 40096),
    ),
    "EXIF and TIFF/EP: how it was taken": (
        33405, 33423, 33434, 33437, 34850, 34852, 34853, 34855, 34858, 34859, range(34864, 34870), 36864, 36867, 36868,
        36880, 36881, 36882, 37121, 37122, range(37377, 37395), range(37396, 37400), 37500, 37510, 37520, 37521, 37522,
        range(37888, 37894), range(40960, 40966), range(41483, 41496), 41728, 41729, range(41985, 41997), 42016,
        range(42032, 42038), 42080, 42081, 42082,
    ),
}  # fmt: skip
NOTHING = frozenset(
    tag for kinds in _NOTHING.values() for kind in kinds for tag in (kind if isinstance(kind, range) else (kind,))
)
