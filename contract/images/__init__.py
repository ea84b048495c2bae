"""Image files, one module per format: what a file says about its pixels, and those pixels as gray.

One rule for every format: the file says how its values map to black and white and which side is up, and the reader
obeys, or refuses in a sentence. Pillow does not follow that rule, and its versions differ: of a 12-bit TIFF, say, it
hands out the bare values, of a TIFF of several pages the first, and a TIFF is turned upright by some versions only. So
each module reads the header itself, decides from it alone, lets Pillow do no more than unpack JPEG, PNG and LZW data,
and checks that what comes back is what the header promised.

Every number of a file is bounded before memory is taken or time is spent for it.
"""
