# The block design: processing system, DMA, accelerator, and what connects them. One clock for everything.
# Cells are found by the driver under these names; see settings.tcl for every number.

# The newest version of an IP that this Vivado has: versions differ between releases, names do not.
proc add_ip {type name} {
    set found [get_ipdefs "xilinx.com:ip:$type:*"]
    if {[llength $found] == 0} { fail "catalog" "Vivado's catalog has no $type: install the support for $::part" }
    set newest [lindex [lsort -dictionary [get_property VLNV $found]] end]
    return [create_bd_cell -type ip -vlnv $newest $name]
}

proc configure {cell settings} {
    set list {}
    foreach {name value} $settings { lappend list CONFIG.$name $value }
    set_property -dict $list [get_bd_cells $cell]
}

proc join_streams {from to} { connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to] }

proc drive {source sinks} {
    foreach sink $sinks { connect_bd_net [get_bd_pins $source] [get_bd_pins $sink] }
}

# An external interface, unless the board's automation made it.
proc external {pin vlnv} {
    set name [file tail $pin]
    if {[llength [get_bd_intf_ports -quiet $name]] > 0} { return }
    create_bd_intf_port -mode Master -vlnv $vlnv $name
    connect_bd_intf_net [get_bd_intf_ports $name] [get_bd_intf_pins $pin]
}

# The preset of an installed board file comes first, and ours after it: automation resets what was set before.
proc add_ps7 {preset} {
    add_ip processing_system7 zynq_ps
    if {$preset} {
        apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config \
            {make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"} \
            [get_bd_cells zynq_ps]
    } else {
        configure zynq_ps $::ps_settings
    }
    configure zynq_ps [list \
        PCW_USE_M_AXI_GP0 1 PCW_USE_S_AXI_HP0 1 PCW_S_AXI_HP0_DATA_WIDTH $::memory_bits \
        PCW_EN_CLK0_PORT 1 PCW_FPGA_FCLK0_ENABLE 1 PCW_EN_RST0_PORT 1 \
        PCW_FPGA0_PERIPHERAL_FREQMHZ $::clock_mhz]
    external zynq_ps/DDR xilinx.com:interface:ddrx_rtl:1.0
    external zynq_ps/FIXED_IO xilinx.com:display_processing_system7:fixedio_rtl:1.0
    return {
        master M_AXI_GP0 slave S_AXI_HP0 clock FCLK_CLK0 reset FCLK_RESET0_N
        clocked {M_AXI_GP0_ACLK S_AXI_HP0_ACLK} memory S_AXI_HP0 actual PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ
    }
}

# Some presets switch ports on whose clocks would then be open.
proc add_zynqmp {preset} {
    add_ip zynq_ultra_ps_e zynq_ps
    if {$preset} {
        apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} \
            [get_bd_cells zynq_ps]
    } else {
        configure zynq_ps $::ps_settings
    }
    configure zynq_ps [list \
        PSU__USE__M_AXI_GP0 1 PSU__USE__M_AXI_GP1 0 PSU__USE__M_AXI_GP2 0 PSU__USE__IRQ0 0 \
        PSU__USE__S_AXI_GP2 1 PSU__SAXIGP2__DATA_WIDTH $::memory_bits \
        PSU__FPGA_PL0_ENABLE 1 PSU__FPGA_PL1_ENABLE 0 PSU__NUM_FABRIC_RESETS 1 \
        PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $::clock_mhz]
    return {
        master M_AXI_HPM0_FPD slave S_AXI_HP0_FPD clock pl_clk0 reset pl_resetn0
        clocked {maxihpm0_fpd_aclk saxihp0_fpd_aclk} memory SAXIGP2 actual PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ
    }
}

# The driver refuses a clock that is more than 1 % off, so that is found out before anything is synthesized.
proc require_clock {actual} {
    set mhz [get_property CONFIG.$actual [get_bd_cells zynq_ps]]
    if {![string is double -strict $mhz] || abs($mhz - $::clock_mhz) > 0.01 * $::clock_mhz} {
        fail "clock" "the processing system makes '$mhz' MHz where the build wants $::clock_mhz MHz: choose another\
            build.clk_ns"
    }
    return $mhz
}

proc add_dma {} {
    add_ip axi_dma $::dma_name
    # What it would otherwise take from its neighbours is fixed first.
    foreach name {c_s_axis_s2mm_tdata_width c_m_axi_s2mm_data_width} {
        set_property CONFIG.$name.VALUE_SRC USER [get_bd_cells $::dma_name]
    }
    configure $::dma_name [list \
        c_include_sg 0 c_sg_include_stscntrl_strm 0 c_micro_dma 0 c_sg_length_width $::length_bits c_addr_width 32 \
        c_include_mm2s 1 c_include_mm2s_dre 0 c_mm2s_burst_size 16 \
        c_m_axi_mm2s_data_width $::memory_bits c_m_axis_mm2s_tdata_width $::dma_bits \
        c_include_s2mm 1 c_include_s2mm_dre 0 c_s2mm_burst_size 16 \
        c_m_axi_s2mm_data_width $::memory_bits c_s_axis_s2mm_tdata_width $::result_bits]
}

# The converter is fed with whole words only, so TKEEP never says anything.
proc add_stream_in {} {
    if {$::dma_bits == $::accelerator_bits} {
        join_streams $::dma_name/M_AXIS_MM2S accelerator/s_axis
        return {}
    }
    add_ip axis_dwidth_converter width_converter
    set_property CONFIG.S_TDATA_NUM_BYTES.VALUE_SRC USER [get_bd_cells width_converter]
    configure width_converter [list \
        S_TDATA_NUM_BYTES [expr {$::dma_bits / 8}] M_TDATA_NUM_BYTES [expr {$::accelerator_bits / 8}] HAS_TLAST 1]
    join_streams $::dma_name/M_AXIS_MM2S width_converter/S_AXIS
    join_streams width_converter/M_AXIS accelerator/s_axis
    return width_converter
}

proc bus {name masters} {
    add_ip smartconnect $name
    configure $name [list NUM_SI $masters NUM_MI 1]
}

# The DMA has 32 address bits and reaches the lower part of the memory; the rest is left out on purpose, not forgotten.
proc map_memory {segments} {
    set mapped 0
    foreach channel {Data_MM2S Data_S2MM} {
        set space [get_bd_addr_spaces $::dma_name/$channel]
        foreach segment [get_bd_addr_segs zynq_ps/$segments/*] {
            if {[string match *_DDR_LOW* $segment]} {
                assign_bd_address -target_address_space $space $segment
                incr mapped
            } else {
                exclude_bd_addr_seg -target_address_space $space $segment
            }
        }
    }
    if {$mapped != 2} { fail "addresses" "the DMA reaches $mapped memories, expected one from each of its channels" }
}

# Returns the clock that the processing system really makes [MHz].
proc make_block_design {preset} {
    create_bd_design $::design_name
    set ps [add_$::ps $preset]
    set mhz [require_clock [dict get $ps actual]]
    add_dma
    create_bd_cell -type module -reference accelerator accelerator
    bus control_bus 1
    bus memory_bus 2
    add_ip proc_sys_reset reset
    set converter [add_stream_in]

    join_streams zynq_ps/[dict get $ps master] control_bus/S00_AXI
    join_streams control_bus/M00_AXI $::dma_name/S_AXI_LITE
    join_streams $::dma_name/M_AXI_MM2S memory_bus/S00_AXI
    join_streams $::dma_name/M_AXI_S2MM memory_bus/S01_AXI
    join_streams memory_bus/M00_AXI zynq_ps/[dict get $ps slave]
    join_streams accelerator/m_axis $::dma_name/S_AXIS_S2MM

    set clocks [list reset/slowest_sync_clk control_bus/aclk memory_bus/aclk accelerator/ap_clk \
        $::dma_name/s_axi_lite_aclk $::dma_name/m_axi_mm2s_aclk $::dma_name/m_axi_s2mm_aclk]
    foreach pin [dict get $ps clocked] { lappend clocks zynq_ps/$pin }
    set resets [list control_bus/aresetn memory_bus/aresetn $::dma_name/axi_resetn accelerator/ap_rst_n]
    foreach cell $converter {
        lappend clocks $cell/aclk
        lappend resets $cell/aresetn
    }
    drive zynq_ps/[dict get $ps clock] $clocks
    drive zynq_ps/[dict get $ps reset] reset/ext_reset_in
    drive reset/peripheral_aresetn $resets

    assign_bd_address -target_address_space [get_bd_addr_spaces zynq_ps/Data] \
        [get_bd_addr_segs $::dma_name/S_AXI_LITE/Reg]
    map_memory [dict get $ps memory]
    validate_bd_design
    # The polarity comes from the processing system's pin: a reset that never ends would look like a dead DMA.
    if {[get_property CONFIG.C_EXT_RESET_HIGH [get_bd_cells reset]] != 0} {
        fail "reset" "Vivado takes the reset for active high, expected active low"
    }
    save_bd_design
    return $mhz
}
