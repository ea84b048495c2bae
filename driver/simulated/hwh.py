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
    zynqmp = device.clock.zynqmp
    kind, version, master = (
        ("zynq_ultra_ps_e", "3.5", "M_AXI_HPM0_FPD") if zynqmp else ("processing_system7", "5.5", "M_AXI_GP0")
    )
    module = _module(modules, "zynq_ps", f"xilinx.com:ip:{kind}:{version}", _clock_parameters(device))
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
    mhz = device.hardware.clock_mhz
    divisor = max(1, min(63, round(device.clock.source_mhz / mhz)))
    parameters: dict[str, str] = {}
    for i in range(4):
        on, frequency = str(int(i == 0)), str(mhz if i == 0 else 100.0)
        if device.clock.zynqmp:
            register = f"PSU__CRL_APB__PL{i}_REF_CTRL__"
            parameters |= {
                f"PSU__FPGA_PL{i}_ENABLE": on,
                f"{register}SRCSEL": "IOPLL",
                f"{register}DIVISOR0": str(divisor),
                f"{register}DIVISOR1": "1",
                f"{register}ACT_FREQMHZ": frequency,
            }
        else:
            parameters |= {
                f"PCW_FPGA_FCLK{i}_ENABLE": on,
                f"PCW_FCLK{i}_PERIPHERAL_CLKSRC": "IO PLL",
                f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0": str(divisor),
                f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1": "1",
                f"PCW_FPGA{i}_PERIPHERAL_FREQMHZ": frequency,
                f"PCW_ACT_FPGA{i}_PERIPHERAL_FREQMHZ": frequency,
            }
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
