"""The records of this folder: what build, simulate, synth, gates and Vivado's flows leave as JSON."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, RootModel

from contract.network import MAX_OUTPUTS
from contract.record import Chain, Count, Number, Positive, Record, Share, Text
from contract.values import VALUES
from finn_build.targets.boards import BOARDS

MOST_NODES = 400  # of a design: 64 hidden layers of two nodes, with two converters and two FIFOs, and the ends
Amounts = Mapping[str, int]  # lut, ff, bram18, dsp -> how many; one that nobody counted is absent
Layers = Field(max_length=MOST_NODES)


def _known(board: str) -> str:
    if board not in BOARDS:
        raise ValueError(f"no board of this version; known are {', '.join(BOARDS)}")
    return board


KnownBoard = Annotated[Text, AfterValidator(_known)]
Width = Annotated[int, Field(ge=0, lt=2**31)]
Bits = Annotated[int, Field(ge=1, lt=2**20)]  # of a stream
# Between images: of one image there is none. Python's JSON has NaN for it.
PerImage = Annotated[Number | None, BeforeValidator(lambda v: None if v != v else v)]


class Folded(Record):
    """The folding of one layer, as far as it has one."""

    PE: Count | None = None
    SIMD: Count | None = None


class Folding(RootModel[Annotated[dict[Text, Folded], Layers]]):
    """folding.json, by layer."""

    model_config = ConfigDict(frozen=True, strict=True)
    command: ClassVar[str] = "build"


class Built(Record):
    """build.json."""

    command = "build"
    board: KnownBoard
    part: Text
    clk_ns: Positive
    folding: Folding
    chain: Chain


class Taken(Record):
    """What a node, or all together, takes by our formulas or Yosys' count."""

    lut: Count
    ff: Count
    dsp: Count


class Priced(Taken):
    """By the formulas of ops/."""

    bram18: Count

    @property
    def amounts(self) -> Amounts:
        """By resource."""
        return {"lut": self.lut, "ff": self.ff, "bram18": self.bram18, "dsp": self.dsp}


class PricedNode(Priced):
    """One node: a layer, a FIFO, a width converter, or the unit at the ports."""

    name: Text
    kind: Text


class Formulas(Record):
    """What ops/ says of the whole design."""

    total: Priced
    layers: Annotated[list[PricedNode], Layers]


class EstimatedLayer(Record):
    """One layer before any RTL, by FINN's formulas; of our own layers, by ours."""

    name: Text
    cycles: Count
    LUT: Number
    BRAM_18K: Number
    DSP: Number

    @property
    def amounts(self) -> Amounts:
        """By resource."""
        return {"lut": round(self.LUT), "bram18": round(self.BRAM_18K), "dsp": round(self.DSP)}


class Estimates(Record):
    """estimates.json."""

    command = "build"
    cycles_per_image: Count
    images_per_s: Number
    latency_cycles: Count  # FINN's sum over the layers
    latency_bound_cycles: Count | None = None  # of the model of the handshakes; None without RTL
    layers: Annotated[list[EstimatedLayer], Field(min_length=1, max_length=MOST_NODES)]
    formulas: Formulas | None = None  # None without RTL

    def needed(self, cycles: int) -> float:
        """Return the share of the cycles of an image that a layer needs which takes so many by itself."""
        return min(1.0, cycles / max(1, self.cycles_per_image))


class Node(Record):
    """One node of the stitched design; ops.op.Node says what each field is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,99}$")]  # of a Verilog module, and of files
    op_type: Text
    in_bits: Bits
    out_bits: Bits
    weight_bits: Width
    pe: Width
    out_element_bits: Width
    cycles: Count
    bipolar: bool = False
    depth: Width = 0
    takes: Annotated[tuple[Count, ...], Field(max_length=3)] = ()
    gives: Annotated[tuple[Count, ...], Field(max_length=3)] = ()


class InputStream(Record):
    """The accelerator's input."""

    bits: Bits  # of TDATA
    beats: Width  # per image
    pixels_per_beat: Width
    datatype: Literal[tuple(VALUES)]  # type: ignore[valid-type]  # a name in contract.values.VALUES


class OutputStream(Record):
    """The accelerator's output."""

    bits: Bits  # of TDATA
    beats: Annotated[int, Field(ge=1, le=MAX_OUTPUTS)]  # per image: K
    logit_bits: Annotated[int, Field(ge=1, le=64)]


class Stitched(Record):
    """rtl/design.json."""

    command = "build"
    sources: Annotated[list[Annotated[str, Field(pattern=r"^\w[\w-]{0,99}\.s?v$")]], Layers]
    input: InputStream
    output: OutputStream
    nodes: Annotated[list[Node], Field(min_length=1, max_length=MOST_NODES)]


class SimulatedLayer(Record):
    """What a layer's streams did, as shares of the simulated cycles."""

    name: Text
    waits_for_input: Share  # ready while nothing came, while it computed or not
    waits_for_output: Share  # stalled by what follows


class SimulatedFifo(Record):
    """A FIFO and the most beats it ever held."""

    name: Text
    depth: Count
    peak: Count


class FirstImages(Record):
    """Cycles of the first and the last beat of each of the first images on one stream."""

    into: Text  # the node that the stream enters; "output" behind the last one
    images: Annotated[list[tuple[Count, Count]], Field(max_length=10)]


class Simulated(Record):
    """sim.json."""

    command = "simulate"
    images: Count
    differing: Count
    images_with_random_stalls: Count
    clock_mhz: Positive
    cycles: Count
    initiation_interval: PerImage
    images_per_s: PerImage
    estimated_interval: Count
    first_latency_cycles: Count
    first_latency_us: Number
    simulation_seconds: Number
    simulated_cycles_per_s: Number
    layers: Annotated[list[SimulatedLayer], Layers]
    slowest: Annotated[list[Text], Layers]
    fifos: Annotated[list[SimulatedFifo], Layers]
    remarks: Annotated[list[Text], Field(max_length=MOST_NODES, default_factory=list)]
    timeline: Annotated[list[FirstImages], Field(max_length=MOST_NODES + 1, default_factory=list)]

    @property
    def cycles_per_image(self) -> float:
        """Measured; the estimate where there was one image only."""
        return float(self.estimated_interval if self.initiation_interval is None else self.initiation_interval)


class Counted(Taken):
    """Yosys' count of one node or of all."""

    lutram: Count  # of the LUTs
    srl: Count  # of the LUTs
    carry: Count
    bram36: Count
    bram18_equivalents: Count

    @property
    def amounts(self) -> Amounts:
        """By resource."""
        return {"lut": self.lut, "ff": self.ff, "bram18": self.bram18_equivalents, "dsp": self.dsp}


class CountedNode(Counted):
    """Yosys' count of one node, or of the unit at the ports."""

    name: Text


class LongestWay(Record):
    """The longest way between two registers, in cells of Yosys' netlist."""

    luts: Count
    carries: Count
    start: Text
    end: Text


class NodesWay(LongestWay):
    """That of one node, from its registers or ports to its registers or ports."""

    name: Text


class DesignsWay(LongestWay):
    """That of the whole design."""

    through: Annotated[list[Text], Layers]  # the nodes that it passes


class Available(Record):
    """What there is of a resource."""

    lut: Count
    ff: Count
    bram18: Count
    dsp: Count


class Synthesis(Record):
    """synth.json of Yosys."""

    command = "synth"
    tool: Text
    version: Text
    kind: Text
    part: Text
    layers: Annotated[list[CountedNode], Layers]
    total: Counted
    levels: Annotated[list[NodesWay], Field(max_length=MOST_NODES, default_factory=list)]  # none of earlier versions
    longest: DesignsWay | None = None
    board: Available
    usable: Available  # the budget


class Gates(Record):
    """gates.json."""

    command = "synth --gates"
    images: Count
    differing: Count


class Placed(Record):
    """What Vivado counted."""

    LUT: Count
    FF: Count
    BRAM_18K: Count
    DSP: Count

    @property
    def amounts(self) -> Amounts:
        """By resource."""
        return {"lut": self.LUT, "ff": self.FF, "bram18": self.BRAM_18K, "dsp": self.DSP}


class PlacedNode(Placed):
    """What Vivado counted of one node."""

    name: Text


class Power(Record):
    """Vivado's estimate."""

    total_w: Number


class Routed(Record):
    """bitstream.json of the shell axi_dma, or Vivado's synth.json."""

    command = "bitstream"
    vivado: Text
    clock_mhz: Positive
    wns_ns: Number
    whs_ns: Number
    fmax_mhz: Number
    power: Power
    used: Placed  # with everything around the accelerator
    accelerator: Placed | None = None  # None where Vivado dissolved it
    layers: Annotated[list[PlacedNode], Layers]
    above_budget: Annotated[list[Text], Field(max_length=10)]


class PackedStream(Record):
    """The output stream of FINN's own shell."""

    packed_bytes: Count
    width_bits: Count


class Bitstream(Record):
    """bitstream.json of either shell."""

    command = "bitstream"
    shell: Text | None = None
    dma: Annotated[dict[Text, Text], Field(max_length=10, default_factory=dict)]
    output: PackedStream | None = None
