"""The design as an IP: a folder with component.xml, RTL, testbench and datasheet."""
