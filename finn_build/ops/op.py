"""What the compiler asks of a hardware op. Every op is a file beside this one, and `finn_build.ops` finds it there.

The search for a folding, the FIFOs, the estimates, the stitched Verilog and the report know these questions and no op
by its name. Nothing here imports FINN, which takes seconds: a network is foreseen, and a page drawn, without it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from contract.errors import ArtifactError
from contract.network import Image, Shape, Window
from finn_build.config import Activation
from finn_build.costs import Family, RamStyle, Resources
from finn_build.timing import Part

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

Attributes = dict[str, int | str]  # of FINN's nodes
DOMAIN = "finn.custom_op.fpgadataflow.rtl"  # FINN takes a node for RTL by this name alone
# Inputs of the AXI-Lite ports that FINN's wrappers always have; nothing is written at run time.
AXILITE_TIES = """\
        .s_axilite_AWVALID(1'b0), .s_axilite_AWADDR('b0), .s_axilite_WVALID(1'b0), .s_axilite_WDATA(32'b0),
        .s_axilite_WSTRB(4'b0), .s_axilite_BREADY(1'b0), .s_axilite_ARVALID(1'b0), .s_axilite_ARADDR('b0),
        .s_axilite_RREADY(1'b0),"""


@dataclass(frozen=True)
class Layer:
    """A node that computes, as far as its folding goes."""

    name: str
    op_type: str
    mw: int  # inputs of a vector; of thresholds 1
    mh: int  # outputs of a vector, or channels
    in_bits: int  # of an input element
    out_bits: int  # of an output element
    weight_bits: int = 0
    accu_bits: int = 0
    narrow_weights: bool = True  # the most negative weight does not occur
    factor_bits: int = 0  # of the factors that can take the place of thresholds; 0: there are none
    addend_bits: int = 0
    one_row: bool = False  # all channels have the same thresholds
    one_factor: bool = False  # and these have the same factor and addend
    activation: Activation = "auto"  # which of the two it may be
    guesses: range = range(0)  # where in_bits of thresholds is a guess: all that it may be
    hopeful: bool = False  # they then cost the least, else the most, that any of these does of each resource
    vectors: int = 1  # of an image: one for each place of what a convolution gives
    image: Image = (1, 1, 1)  # of what looks at places of an image: what it reads
    window: Window | None = None  # the same: at which places
    depthwise: bool = False  # a window's channels come one after the other, each with all of its places
    as_given: bool = False  # its input beats must be the output beats of the node before, but see `takes`

    @property
    def inputs(self) -> int:
        """Elements of an image on its input. Of a node that can be the first."""
        return self.vectors * self.mw

    def takes(self, given: int, taken: int) -> bool:
        """Whether beats of `given` elements can become the node's, of `taken`, by a width converter where they differ.

        What treats each channel for itself takes the places of a window in a row; where a whole window comes at once,
        they are in a row for all channels together.
        """
        return not self.as_given or given == taken or (given, taken) == (self.mw, self.mh)


@dataclass(frozen=True)
class Folding:
    """How one layer is folded."""

    pe: int
    simd: int = 1
    ram_style: RamStyle = "auto"
    in_luts: bool = False  # what could be built of DSPs, too
    digit: int = 0  # of an activation that multiplies: bits of a factor at a time; 0: it compares with thresholds
    parallel: bool = False  # a window's places come at once
    pixels: int = 1  # of an image of one channel, at a time


@dataclass(frozen=True)
class Legal:
    """The values that an attribute can have."""

    values: Sequence[int | str]
    because: str = ""  # why no others; empty where the values say it themselves

    def __str__(self) -> str:
        """Return the end of a sentence that began with what was found."""
        listed = f"{self.values[0]} to {self.values[-1]}" if isinstance(self.values, range) else None
        if not self.because:
            return f", expected {listed or ' or '.join(map(str, self.values))}"
        return f", but {self.because}; legal are {listed or ', '.join(map(str, self.values))}"


@dataclass(frozen=True)
class Node:
    """One FINN node as a Verilog instance with one stream in and one out."""

    name: str  # also the name of its Verilog module
    op_type: str
    in_bits: int  # TDATA [bit], whole bytes
    out_bits: int
    weight_bits: int  # TDATA of the weight stream [bit]; 0 without weights
    pe: int  # elements per output beat
    out_element_bits: int  # of one output element [bit]; elements are packed without gaps
    cycles: int  # per image, if nothing makes it wait
    bipolar: bool = False  # output bits 0 and 1 are -1 and +1
    depth: int = 0  # of a FIFO [beats]
    takes: Shape = ()  # of an image's inputs: (MW,), or (H, W, C); of designs of earlier versions nothing is known
    gives: Shape = ()  # of its outputs

    @property
    def layer(self) -> bool:
        """Whether it computes, rather than moving data."""
        return op_of(self).computes

    @property
    def activation(self) -> bool:
        """Whether its output is an activation."""
        return self.layer and layer_op(self).activates(bipolar=self.bipolar)

    @property
    def fifo(self) -> bool:
        """Whether it has occupancy counters."""
        return self.depth > 0


class Op:
    """One kind of node. An `inst` is FINN's node, as qonnx' `getCustomOp` gives it.

    What moves data, and does not compute, has these questions only.
    """

    op_type: ClassVar[str]  # FINN's name of the node
    called: ClassVar[str]  # by people
    box: ClassVar[Literal["layer", "fifo", "converter"]]  # how a picture of the accelerator draws it
    computes: ClassVar[bool] = False

    # FINN

    def node_class(self) -> type | None:
        """Return the class that qonnx must take for the node, if it is ours and not FINN's. May import FINN."""
        return None

    def settle(self, inst: Any) -> None:
        """Set what FINN leaves open, or chooses wrongly, in a node that it inserted."""

    # Costs and handshakes

    def node_cost(self, model: "ModelWrapper", inst: Any, family: Family) -> Resources:
        """Return what a node takes."""
        raise NotImplementedError

    def handshake(self, inst: Any) -> Callable[[], Part]:
        """Return what makes the model of the node's handshakes, empty."""
        raise NotImplementedError

    def node_cycles(self, model: "ModelWrapper", inst: Any) -> int:
        """Return the cycles per image, if nothing makes the node wait."""
        raise NotImplementedError

    # Verilog

    def depth(self, inst: Any) -> int:
        """Return the beats that the node holds and counts; 0: it is no FIFO."""
        return 0

    def weight_bits(self, inst: Any) -> int:
        """Return the TDATA of the stream of weights [bit]; 0: there is none. Raises ConfigError."""
        return 0

    def sources(self, inst: Any) -> list[Path]:
        """Return the Verilog of the node."""
        return [Path(file) for file in inst.get_rtl_file_list(abspath=True)]

    def portable(self, file: str, text: str, node: Node) -> str:
        """Return a file of the node's Verilog as it works in any folder."""
        return text

    def instance(self, i: int, node: Node) -> str:
        """Return the Verilog of a node, from stream i to stream i + 1."""
        return instance(i, node)

    # People

    def title(self, node: Node, *, number: int, held: int | None) -> str:
        """Return what a picture of the accelerator says of a node.

        Args:
            node: the node.
            number: of those with the same `called`, from 1.
            held: the most beats that a FIFO held in a simulation, if there was one.
        """
        return f"{self.called} {number}"


class LayerOp(Op):
    """What computes, and can be folded."""

    box = "layer"
    computes = True
    sizes: ClassVar[dict[str, str]]  # of PE and SIMD, as far as it has them: the attribute that each divides
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}  # what a folding file may choose, and from what

    def legal(self, inst: Any, *, trained: bool = True) -> dict[str, Legal]:
        """Return the attributes that a folding file may set, and to what.

        Args:
            inst: FINN's node.
            trained: whether the node has its constants; what depends on them is not known before.
        """
        types = inst.get_nodeattr_types()
        values = {name: inst.get_nodeattr(size) for name, size in self.sizes.items() if name in types}
        return {
            name: Legal(tuple(divisors(value)), f"it must divide {self.sizes[name]} = {value}")
            for name, value in values.items()
        } | {
            name: Legal(tuple(choice for choice in choices if choice in types[name][3]))
            for name, choices in self.choices.items()
            if name in types
        }

    def idle(self, inst: Any, values: Attributes, *, trained: bool = True) -> str:
        """Return which of a folding file's legal values does nothing beside the others, and why; empty: none."""
        return ""

    def layer(self, model: "ModelWrapper", inst: Any) -> Layer:
        """Return a node as the search for a folding sees it."""
        raise NotImplementedError

    def foldings(self, layer: Layer) -> Iterator[Folding]:
        """Yield every legal folding."""
        raise NotImplementedError

    def folding(self, inst: Any) -> Folding:
        """Return that of a node."""
        raise NotImplementedError

    def attributes(self, folding: Folding) -> Attributes:
        """Return FINN's attributes of a node that is folded so."""
        raise NotImplementedError

    def unbuildable(self, inst: Any, values: Attributes) -> str:
        """Return why a node cannot be built with a folding file's values, each of which is legal; empty: it can."""
        return ""

    def taken(self, folding: Folding) -> int:
        """Return the elements of an input beat."""
        raise NotImplementedError

    def given(self, layer: Layer, folding: Folding) -> int:
        """Return the elements of an output beat."""
        return folding.pe

    def cycles(self, layer: Layer, folding: Folding) -> int:
        """Return the initiation interval [cycles per image]."""
        return layer.vectors * (layer.mw // folding.simd) * (layer.mh // folding.pe)

    def cost(self, layer: Layer, folding: Folding, family: Family) -> Resources:
        """Return what a layer takes."""
        raise NotImplementedError

    def node_cost(self, model: "ModelWrapper", inst: Any, family: Family) -> Resources:
        """Return what a node takes."""
        return self.cost(self.layer(model, inst), self.folding(inst), family)

    def node_cycles(self, model: "ModelWrapper", inst: Any) -> int:
        """Return the cycles per image, if nothing makes the node wait."""
        return self.cycles(self.layer(model, inst), self.folding(inst))

    def build(self, model: "ModelWrapper", node: Any) -> None:
        """Replace a folded node of `model`, where its folding chooses another op."""

    def built_as(self, name: str) -> dict[str, Attributes]:
        """Return what else a node of this name can be called once it is built, and what of its folding each says."""
        return {}

    # Values

    def activates(self, *, bipolar: bool) -> bool:
        """Whether its output is an activation, rather than a sum; `bipolar` is the output's type."""
        raise NotImplementedError


OPS: dict[str, Op] = {}  # by `op_type`; `finn_build.ops` fills it


def op_of(node: Any) -> Op:
    """Return the op of a node: FINN's, or anything else with an `op_type`."""
    return OPS[node.op_type]


def layer_op(node: Any) -> LayerOp:
    """Return the op of a node that computes."""
    op = op_of(node)
    assert isinstance(op, LayerOp), f"{node.op_type} does not compute"
    return op


def recorded(node: Any) -> Node:
    """Return a node of a design.json. Raises ArtifactError: its op is unknown."""
    if node.op_type not in OPS:
        raise ArtifactError(
            f"design.json has a node {node.name} of the op {node.op_type}, expected {' or '.join(OPS)}. Run `cxrflow "
            "build` again."
        )
    return Node(**node.model_dump())


def instance(i: int, node: Node, ports: tuple[str, ...] = ()) -> str:
    """Return the Verilog of a node, from stream i to stream i + 1, with the lines of its other `ports`."""
    return "\n".join(
        (
            f"    {node.name} u_{node.name} (",
            *ports,
            "        .ap_clk(ap_clk), .ap_rst_n(ap_rst_n),",
            f"        .in0_V_TDATA(stream{i}_tdata), .in0_V_TVALID(stream{i}_tvalid), .in0_V_TREADY(stream{i}_tready),",
            f"        .out0_V_TDATA(stream{i + 1}_tdata), .out0_V_TVALID(stream{i + 1}_tvalid), "
            f".out0_V_TREADY(stream{i + 1}_tready)",
            "    );",
        )
    )


def beats(inst: Any) -> tuple[int, int]:
    """Return the beats per image on a node's input and output."""
    into, out = inst.get_folded_input_shape(), inst.get_folded_output_shape()
    return prod(map(int, into[:-1])), prod(map(int, out[:-1]))


def vectors(inst: Any) -> int:
    """Return how many vectors of an image a node of FINN's treats, one after the other."""
    return prod(map(int, inst.get_nodeattr("numInputVectors")))


def divisors(n: int) -> list[int]:
    """Return the divisors of n, ascending."""
    return [d for d in range(1, n + 1) if n % d == 0]
