"""The description of an IP that Vivado's catalog reads: IP-XACT, IEEE 1685-2009, with the vendor's extensions.

Element names and their order are the standard's; bus types, view names and file types are those of the component.xml
files in finn-rtllib, which Vivado wrote. The optional checksums are left out.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
XILINX = "http://www.xilinx.com"
SYNTHESIS, SIMULATION = "xilinx_anylanguagesynthesis", "xilinx_anylanguagebehavioralsimulation"


@dataclass(frozen=True)
class Vlnv:
    """The name of an IP in a catalog."""

    vendor: str
    library: str
    name: str
    version: str

    def __str__(self) -> str:
        """All four parts, as Vivado and FuseSoC write them."""
        return f"{self.vendor}:{self.library}:{self.name}:{self.version}"


@dataclass(frozen=True)
class Port:
    """One port of the top module."""

    name: str
    direction: str  # "in" or "out"
    bits: int | None  # None: a scalar, not a vector
    meaning: str


@dataclass(frozen=True)
class Bus:
    """Ports that Vivado connects as one."""

    name: str
    kind: str  # the bus type: axis, clock or reset
    mode: str  # "master" or "slave"
    ports: Mapping[str, str]  # logical -> physical
    parameters: Mapping[str, str]


def component(
    vlnv: Vlnv,
    *,
    description: str,
    top: str,
    ports: Sequence[Port],
    buses: Sequence[Bus],
    files: Sequence[str],
    constraints: str,
    family: str,
) -> str:
    """Return component.xml.

    Args:
        vlnv: the IP's name.
        description: one line.
        top: name of the top module.
        ports: all ports of the top.
        buses: its interfaces.
        files: Verilog and memory files of both views, relative, in compile order.
        constraints: an XDC file for synthesis, relative.
        family: the device family it was made for.
    """
    ET.register_namespace("spirit", SPIRIT)
    ET.register_namespace("xilinx", XILINX)
    root = ET.Element(_spirit("component"))
    for tag, value in (
        ("vendor", vlnv.vendor), ("library", vlnv.library), ("name", vlnv.name), ("version", vlnv.version),
    ):  # fmt: skip
        _text(root, tag, value)
    interfaces = _child(root, "busInterfaces")
    for bus in buses:
        _bus(interfaces, bus)
    _model(_child(root, "model"), top, ports)
    _file_sets(_child(root, "fileSets"), files, constraints)
    _text(root, "description", description)
    parameter = _child(_child(root, "parameters"), "parameter")
    _text(parameter, "name", "Component_Name")
    name = f"{vlnv.name}_v{vlnv.version.replace('.', '_')}"
    _text(parameter, "value", name, resolve="user", id="PARAM_VALUE.Component_Name", order="1")
    _extensions(_child(root, "vendorExtensions"), name, family)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _bus(parent: ET.Element, bus: Bus) -> None:
    library = "interface" if bus.kind == "axis" else "signal"
    vlnv = {"vendor": "xilinx.com", "library": library, "version": "1.0"}
    element = _child(parent, "busInterface")
    _text(element, "name", bus.name)
    _child(element, "busType", **vlnv, name=bus.kind)
    _child(element, "abstractionType", **vlnv, name=f"{bus.kind}_rtl")
    _child(element, bus.mode)
    maps = _child(element, "portMaps")
    for logical, physical in bus.ports.items():
        pair = _child(maps, "portMap")
        _text(_child(pair, "logicalPort"), "name", logical)
        _text(_child(pair, "physicalPort"), "name", physical)
    if bus.parameters:
        parameters = _child(element, "parameters")
        for key, value in bus.parameters.items():
            parameter = _child(parameters, "parameter")
            _text(parameter, "name", key)
            _text(parameter, "value", value, id=f"BUSIFPARAM_VALUE.{bus.name.upper()}.{key}")


def _model(model: ET.Element, top: str, ports: Sequence[Port]) -> None:
    views = _child(model, "views")
    for name, shown, use in ((SYNTHESIS, "Synthesis", "synthesis"), (SIMULATION, "Simulation", "simulation")):
        view = _child(views, "view")
        _text(view, "name", name)
        _text(view, "displayName", shown)
        _text(view, "envIdentifier", f":vivado.xilinx.com:{use}")
        _text(view, "language", "Verilog")
        _text(view, "modelName", top)
        _text(_child(view, "fileSetRef"), "localName", f"{name}_view_fileset")
    listed = _child(model, "ports")
    for port in ports:
        element = _child(listed, "port")
        _text(element, "name", port.name)
        wire = _child(element, "wire")
        _text(wire, "direction", port.direction)
        if port.bits is not None:
            vector = _child(wire, "vector")
            _text(vector, "left", str(port.bits - 1), format="long")
            _text(vector, "right", "0", format="long")
        kind = _child(_child(wire, "wireTypeDefs"), "wireTypeDef")
        _text(kind, "typeName", "wire")
        _text(kind, "viewNameRef", SYNTHESIS)
        _text(kind, "viewNameRef", SIMULATION)


def _file_sets(parent: ET.Element, files: Sequence[str], constraints: str) -> None:
    for view in (SYNTHESIS, SIMULATION):
        file_set = _child(parent, "fileSet")
        _text(file_set, "name", f"{view}_view_fileset")
        for name in files:
            file = _child(file_set, "file")
            _text(file, "name", name)
            if name.endswith(".dat"):
                _text(file, "userFileType", "mif")  # as Vitis HLS packages its own .dat files
            else:
                _text(file, "fileType", "systemVerilogSource" if name.endswith(".sv") else "verilogSource")
        if view == SYNTHESIS:
            file = _child(file_set, "file")
            _text(file, "name", constraints)
            for kind in ("xdc", "USED_IN_implementation", "USED_IN_out_of_context", "USED_IN_synthesis"):
                _text(file, "userFileType", kind)


def _extensions(parent: ET.Element, name: str, family: str) -> None:
    core = ET.SubElement(parent, _xilinx("coreExtensions"))
    families = ET.SubElement(core, _xilinx("supportedFamilies"))
    ET.SubElement(families, _xilinx("family"), {_xilinx("lifeCycle"): "Production"}).text = family
    taxonomies = ET.SubElement(core, _xilinx("taxonomies"))
    ET.SubElement(taxonomies, _xilinx("taxonomy")).text = "/UserIP"
    for tag, value in (("displayName", name), ("definitionSource", "package_project"), ("coreRevision", "1")):
        ET.SubElement(core, _xilinx(tag)).text = value
    # Clocks of Zynq UltraScale+ are 99.999 MHz when asked for 100: a difference in FREQ_HZ must not be an error.
    packaging = ET.SubElement(parent, _xilinx("packagingInfo"))
    check = ET.SubElement(
        ET.SubElement(packaging, _xilinx("targetDRCs")), _xilinx("targetDRC"), {_xilinx("tool"): "ipi"}
    )
    option = {_xilinx("name"): "ignore_freq_hz", _xilinx("value"): "true"}
    ET.SubElement(check, _xilinx("targetDRCOption"), option)


def _spirit(tag: str) -> str:
    return f"{{{SPIRIT}}}{tag}"


def _xilinx(tag: str) -> str:
    return f"{{{XILINX}}}{tag}"


def _child(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, _spirit(tag), {_spirit(key): value for key, value in attributes.items()})


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    _child(parent, tag, **attributes).text = text
