"""The hardware description that Vivado writes beside a bitstream, as small as pynq reads it."""

from pathlib import Path
from xml.etree import ElementTree

from driver.simulated.device import AXI_DMA, Ip, SimulatedDevice


def write_hwh(path: Path, device: SimulatedDevice) -> None:
    """Describe the design of `device`: the processing system, and every IP at its address."""
    root = ElementTree.Element("EDKSYSTEM")
    ElementTree.SubElement(root, "SYSTEMINFO", NAME="simulated", PART=device.hardware.part)
    ElementTree.SubElement(root, "EXTERNALPORTS")
    ElementTree.SubElement(root, "EXTERNALINTERFACES")
    modules = ElementTree.SubElement(root, "MODULES")
    _processing_system(modules, device)
    for ip in device.ips.values():
        module = _module(modules, ip.name, ip.type, ip.parameters)
        _bus(module, _slave(ip), "SLAVE")
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _slave(ip: Ip) -> str:
    return "S_AXI_LITE" if ip.type == AXI_DMA else "s_axi_control_0"


def _processing_system(modules: ElementTree.Element, device: SimulatedDevice) -> None:
    master = device.processors.master
    module = _module(modules, "zynq_ps", f"xilinx.com:ip:{device.processors.cell}", _clock_parameters(device))
    _bus(module, master, "MASTER")
    memory_map = ElementTree.SubElement(module, "MEMORYMAP")
    for ip in device.ips.values():
        ElementTree.SubElement(
            memory_map, "MEMRANGE",
            ADDRESSBLOCK="Reg", MEMTYPE="REGISTER", INSTANCE=ip.name, MASTERBUSINTERFACE=master,
            SLAVEBUSINTERFACE=_slave(ip), BASEVALUE=f"0x{ip.address:08X}",
            HIGHVALUE=f"0x{ip.address + ip.registers.size - 1:08X}",
        )  # fmt: skip


def _clock_parameters(device: SimulatedDevice) -> dict[str, str]:
    """Return what pynq reads about the four PL clocks; only clock 0 is on."""
    mhz, system = device.hardware.clock_mhz, device.processors
    divisor = max(1, min(63, round(system.clocks.source_mhz / mhz)))
    parameters: dict[str, str] = {}
    for i in range(4):
        values = {"on": int(i == 0), "divisor": divisor, "mhz": mhz if i == 0 else 100.0}
        parameters |= {name.format(i=i): value.format(**values) for name, value in system.hwh.items()}
    return parameters


def _module(modules: ElementTree.Element, name: str, vlnv: str, parameters: dict[str, str]) -> ElementTree.Element:
    module = ElementTree.SubElement(
        modules, "MODULE", INSTANCE=name, FULLNAME=f"/{name}", MODTYPE=vlnv.split(":")[2], VLNV=vlnv
    )
    children = ElementTree.SubElement(module, "PARAMETERS")
    for key, value in parameters.items():
        ElementTree.SubElement(children, "PARAMETER", NAME=key, VALUE=value)
    return module


def _bus(module: ElementTree.Element, name: str, kind: str) -> None:
    buses = ElementTree.SubElement(module, "BUSINTERFACES")
    ElementTree.SubElement(buses, "BUSINTERFACE", NAME=name, TYPE=kind, VLNV="xilinx.com:interface:aximm:1.0")
