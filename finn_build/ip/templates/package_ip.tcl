# Let Vivado write component.xml anew from this folder:
#     vivado -mode batch -source package_ip.tcl
# Never run on a real Vivado. component.xml is here already, so this is only needed if yours does not like it.
set here [file dirname [file normalize [info script]]]
set project [file join $here .package_ip]
set sources {
@TCL_SOURCES@
}
set memories {
@MEMORIES@
}
set constraints @XDC@

proc absolute {here names} {
    set paths {}
    foreach name $names { lappend paths [file join $here $name] }
    return $paths
}

create_project package_ip $project -part @PART@ -force
add_files -norecurse [absolute $here $sources]
add_files -norecurse [absolute $here $memories]
add_files -norecurse -fileset constrs_1 [absolute $here [list $constraints]]
foreach name $sources {
    if {[file extension $name] eq ".sv"} { set_property file_type SystemVerilog [get_files [file join $here $name]] }
}
set_property USED_IN {out_of_context synthesis implementation} [get_files [file join $here $constraints]]
set_property top accelerator [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $here -vendor @VENDOR@ -library @LIBRARY@ -taxonomy /UserIP -force
set core [ipx::current_core]
set_property name @NAME@ $core
set_property version @VERSION@ $core
set_property display_name @NAME@ $core
set_property description {@DESCRIPTION@} $core
set_property supported_families {@FAMILY@ Production} $core
set_property ipi_drc {ignore_freq_hz true} $core

# The memory files belong to both views, whatever Vivado thought of them.
foreach group {xilinx_anylanguagesynthesis xilinx_anylanguagebehavioralsimulation} {
    set files [ipx::get_file_groups $group -of_objects $core]
    foreach name $memories {
        set file [ipx::get_files $name -of_objects $files]
        if {$file eq ""} { set file [ipx::add_file $name $files] }
        set_property type mif $file
    }
}

# Vivado infers these from the ports' names and attributes; what it missed is inferred here.
proc infer {core name ports type} {
    if {[ipx::get_bus_interfaces $name -of_objects $core] eq ""} { ipx::infer_bus_interface $ports $type $core }
}
infer $core ap_clk ap_clk xilinx.com:signal:clock_rtl:1.0
infer $core ap_rst_n ap_rst_n xilinx.com:signal:reset_rtl:1.0
foreach bus {s_axis m_axis} {
    set ports {}
    foreach signal {tdata tvalid tlast tready} { lappend ports ${bus}_$signal }
    infer $core $bus $ports xilinx.com:interface:axis_rtl:1.0
    ipx::associate_bus_interfaces -busif $bus -clock ap_clk $core
}
ipx::associate_bus_interfaces -clock ap_clk -reset ap_rst_n $core
set reset [ipx::get_bus_interfaces ap_rst_n -of_objects $core]
if {[ipx::get_bus_parameters POLARITY -of_objects $reset] eq ""} { ipx::add_bus_parameter POLARITY $reset }
set_property value ACTIVE_LOW [ipx::get_bus_parameters POLARITY -of_objects $reset]

set_property core_revision 2 $core
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
file delete -force $project
