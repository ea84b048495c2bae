# Vivado's commands as our scripts use them. Everything that a script builds is recorded and can be printed as lines of
# tab-separated words; a cell, pin, segment or option that does not exist is an error, as in Vivado.
#
# Two arrays come from the caller: ::ip (interfaces and pins of each IP, see vivado_model.py) and ::scenario (what goes wrong).
array set ::config {}   ;# CELL.NAME -> value
array set ::kind {}     ;# CELL -> IP
array set ::project_property {}
array set ::run {synth_1,PROGRESS 0% synth_1,NEEDS_REFRESH 0 impl_1,PROGRESS 0% impl_1,NEEDS_REFRESH 0}
set ::cells {}; set ::intf_nets {}; set ::nets {}; set ::assigned {}; set ::excluded {}; set ::intf_ports {}
set ::added {}; set ::counts {}; set ::validated 0; set ::opened 0; set ::calls {}

proc stub_fail {text} { puts "ERROR: \[Common 17-69\] Command failed: $text"; exit 1 }
proc wrong {what} { return [expr {$::scenario(wrong) eq $what}] }
proc options {args_in flags values} {
    # Split a call into -flags, -name value pairs and the rest; anything else that begins with a dash is an error.
    set found {}; set rest {}
    for {set i 0} {$i < [llength $args_in]} {incr i} {
        set word [lindex $args_in $i]
        if {$word in $flags} { dict set found $word 1 } elseif {$word in $values} {
            dict set found $word [lindex $args_in [incr i]]
        } elseif {[string match {-[a-z]*} $word]} { stub_fail "unknown option $word" } else { lappend rest $word }
    }
    return [list $found $rest]
}

# --- project
proc create_project {name folder args} {
    lassign [options $args {-force} {-part}] found
    set ::part_used [dict get $found -part]
    if {[wrong part]} {
        puts "ERROR: \[Coretcl 2-106\] Specified part could not be found."
        exit 1
    }
    set ::project_dir $folder; set ::project_name $name
    file mkdir $folder
    close [open [file join $folder $name.xpr] w]
}
proc open_project {path} {
    if {![file exists $path]} { stub_fail "no project $path" }
    set ::project_dir [file dirname $path]; set ::project_name [file rootname [file tail $path]]
    set ::opened 1
    foreach run {synth_1 impl_1} {
        if {[file exists [run_dir $run]/finished]} { set ::run($run,PROGRESS) 100% }
    }
}
proc current_project {} { return PROJECT }
proc current_fileset {} { return FILESET }
proc get_board_parts {args} {
    lassign [options $args {-quiet} {}] found rest
    return [expr {$rest in $::scenario(boards) ? $rest : ""}]
}
proc add_files {args} {
    lassign [options $args {-norecurse} {}] found rest
    foreach path [lindex $rest 0] { if {![file exists $path]} { stub_fail "no file $path" }; lappend ::added $path }
}
proc update_compile_order {args} {}
proc get_files {name} { return FILE:$name }
proc generate_target {what file} {
    if {!$::validated} { stub_fail "generate_target before validation" }
    set folder [file join $::project_dir $::project_name.gen sources_1 bd $::bd hw_handoff]
    file mkdir $folder
    file copy -force $::scenario(hwh) [file join $folder $::bd.hwh]
}
proc make_wrapper {args} {
    lassign [options $args {-import -top} {-files -fileset}] found
    set ::wrapper ${::bd}_wrapper
}
proc version {args} { return 2024.2 }
proc set_property {args} {
    if {[lindex $args 0] eq "-dict"} {
        lassign $args - list object
        foreach {name value} $list { set_property $name $value $object }
        return
    }
    lassign $args name value object
    if {$object eq ""} { puts "CRITICAL WARNING: \[Common 17-55\] 'set_property' expects at least one object."; return }
    if {[string match CONFIG.* $name]} {
        set name [string range $name 7 end]
        if {$object ni $::cells} { stub_fail "no cell $object" }
        set ::config($object.$name) $value
    } else { set ::project_property($object.$name) $value }
}
proc get_property {name object} {
    if {$name eq "VLNV"} { return $object }
    if {[info exists ::run($object,PROGRESS)]} {
        if {$name eq "DIRECTORY"} { return [run_dir $object] }
        if {$name eq "STATUS"} { return $::run($object,STATUS) }
        return $::run($object,$name)
    }
    if {$name eq "SLACK"} { return [lindex [split $object :] 1] }
    set name [string range $name 7 end]
    switch $name {
        PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ { return [ps_clock $::config($object.PCW_FPGA0_PERIPHERAL_FREQMHZ)] }
        PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ {
            return [ps_clock $::config($object.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ)]
        }
        C_EXT_RESET_HIGH { return [wrong reset] }
    }
    return $::config($object.$name)
}
proc ps_clock {mhz} { return [expr {[wrong clock] ? 1.1 * $mhz : 0.99999 * $mhz}] }

# --- block design
proc create_bd_design {name} { set ::bd $name }
proc get_ipdefs {args} {
    set pattern [lindex $args end]
    set type [lindex [split $pattern :] 2]
    if {![info exists ::ip($type)] || [wrong catalog]} { return {} }
    return [list xilinx.com:ip:$type:9.0 xilinx.com:ip:$type:10.0] ;# of which the second is the newer one
}
proc create_bd_cell {args} {
    lassign [options $args {} {-type -vlnv -reference}] found rest
    set cell [lindex $rest 0]
    if {$cell in $::cells} { stub_fail "cell $cell twice" }
    if {[dict get $found -type] eq "module"} {
        set kind module:[dict get $found -reference]
        if {[lsearch $::added *[dict get $found -reference].v] < 0} { stub_fail "no module [dict get $found -reference]" }
    } else {
        lassign [split [dict get $found -vlnv] :] - - kind version
        if {$version ne "10.0"} { stub_fail "$kind $version is superseded" }
    }
    lappend ::cells $cell
    set ::kind($cell) $kind
    return $cell
}
proc get_bd_cells {name} { if {$name ni $::cells} { stub_fail "no cell $name" }; return $name }
proc has {what name} {
    set cell [lindex [split $name /] 0]; set port [join [lrange [split $name /] 1 end] /]
    if {$cell ni $::cells} { return 0 }
    foreach pattern [dict get $::ip($::kind($cell)) $what] { if {[string match $pattern $port]} { return 1 } }
    return 0
}
proc get_bd_intf_pins {name} { if {![has interfaces $name]} { stub_fail "no interface pin $name" }; return $name }
proc get_bd_pins {name} { if {![has pins $name]} { stub_fail "no pin $name" }; return $name }
proc get_bd_intf_ports {args} { return [expr {[lindex $args end] in $::intf_ports ? [lindex $args end] : ""}] }
proc create_bd_intf_port {args} {
    lassign [options $args {} {-mode -vlnv}] found rest
    lappend ::intf_ports [lindex $rest 0]
}
proc connect_bd_intf_net {a b} { lappend ::intf_nets [list $a $b] }
proc connect_bd_net {a b} { lappend ::nets [list $a $b] }
proc apply_bd_automation {args} {
    lassign [options $args {} {-rule -config}] found rest
    if {$::project_property(PROJECT.board_part) eq ""} { stub_fail "no board to take a preset from" }
    lappend ::calls [list automation [lindex $rest 0] {*}[dict get $found -config]]
    if {[dict exists [dict get $found -config] make_external]} {
        foreach port {DDR FIXED_IO} {
            lappend ::intf_ports $port
            lappend ::intf_nets [list $port [lindex $rest 0]/$port]
        }
    }
}
proc get_bd_addr_spaces {name} { if {![has spaces $name]} { stub_fail "no address space $name" }; return $name }
proc get_bd_addr_segs {pattern} {
    set found {}
    foreach cell $::cells {
        foreach segment [dict get $::ip($::kind($cell)) segments] {
            if {[string match $pattern $cell/$segment]} { lappend found /$cell/$segment }
        }
    }
    return $found
}
proc assign_bd_address {args} {
    lassign [options $args {} {-target_address_space}] found rest
    if {$rest eq "{}"} { stub_fail "nothing to assign" }
    foreach segment $rest { lappend ::assigned [list [dict get $found -target_address_space] $segment] }
}
proc exclude_bd_addr_seg {args} {
    lassign [options $args {} {-target_address_space}] found rest
    lappend ::excluded [list [dict get $found -target_address_space] [lindex $rest 0]]
}
proc validate_bd_design {} {
    set ::validated 1
    if {[wrong unmapped]} {
        puts "CRITICAL WARNING: \[BD 41-1356\] Slave segment </axi_dma_0/S_AXI_LITE/Reg> is not assigned into address\
            space </zynq_ps/Data>. Please use Address Editor to either assign or exclude it."
        dict incr ::counts {BD 41-1356}
    }
}
proc save_bd_design {} {}
proc get_msg_config {args} {
    lassign [options $args {-count} {-id}] found
    set id [dict get $found -id]
    return [expr {[dict exists $::counts $id] ? [dict get $::counts $id] : 0}]
}

# --- runs
proc get_runs {name} { return $name }
proc run_dir {run} { return [file join $::project_dir $::project_name.runs $run] }
proc reset_run {run} { file delete -force [run_dir $run]; set ::run($run,PROGRESS) 0% }
proc launch_runs {args} {
    lassign [options $args {} {-jobs -to_step}] found rest
    set run [lindex $rest 0]
    file mkdir [run_dir $run]
    if {$run eq "synth_1"} {
        set here [pwd]
        cd [run_dir $run]
        source $::project_property(synth_1.STEPS.SYNTH_DESIGN.TCL.PRE)
        if {[glob -nocomplain *.dat] eq ""} { stub_fail "no memory files where synthesis runs" }
        cd $here
    } elseif {![file exists [run_dir synth_1]/finished]} { stub_fail "impl_1 before synth_1" }
    puts "\[Sat Nov 21 10:00:00 2026\] Launched $run..."
    flush stdout
    play $run
}
proc wait_on_run {run} { puts "\[Sat Nov 21 10:09:59 2026\] $run finished" }
proc play {run} {
    # Write the run's log as the scenario has it, and end as it says.
    set log "INFO: \[Vivado 12-0\] replayed $run\n"
    set status "[string map {synth_1 synth_design impl_1 route_design} $run] Complete!"
    set progress 100%
    if {$::scenario(run) eq $run} {
        append log [set text [vivado_text $::scenario(log)]]
        if {$::scenario(streams)} { puts $text }
        if {$::scenario(ends) eq "error"} { set progress 42%; set status "[string map {_1 _design} $run] ERROR" }
        if {$::scenario(ends) eq "crash"} { exec kill -SEGV [pid] }
        if {$::scenario(ends) eq "hang"} { write_log $run $log; flush stdout; while 1 { after 1000 } }
    }
    write_log $run $log
    set ::run($run,PROGRESS) $progress; set ::run($run,STATUS) $status
    if {$progress eq "100%"} { close [open [run_dir $run]/finished w] }
}
proc vivado_text {path} { set file [open $path]; set text [read $file]; close $file; return $text }
proc write_log {run text} {
    set file [open [run_dir $run]/runme.log w]
    puts $file $text
    close $file
}
proc open_run {run} { set ::routed 1 }

# --- without a project
proc read_verilog {args} {
    lassign [options $args {-sv} {}] found rest
    if {![file exists [lindex $rest 0]]} { stub_fail "no file $rest" }
    lappend ::added [lindex $rest 0]
}
proc read_xdc {args} {
    lassign [options $args {} {-mode}] found rest
    if {![file exists [lindex $rest 0]]} { stub_fail "no file $rest" }
}
proc synth_design {args} {
    lassign [options $args {} {-top -part -mode}] found
    if {[glob -nocomplain *.dat] eq ""} { stub_fail "no memory files where synthesis runs" }
    set ::part_used [dict get $found -part]
    if {$::scenario(run) eq "synth_design"} { puts [vivado_text $::scenario(log)]; exit 1 }
}
foreach name {opt_design place_design route_design} { proc $name {} { set ::routed 1 } }

# --- reports and results
proc report {name args} { file copy -force $::scenario($name) [dict get $args -file] }
proc report_timing_summary {args} { report timing_summary {*}$args }
proc report_power {args} { report power {*}$args }
proc report_utilization {args} {
    if {[lindex $args 0] eq "-hierarchical"} { report utilization_hierarchical {*}[lrange $args 1 end] } else {
        report utilization {*}$args
    }
}
proc get_timing_paths {args} {
    lassign [options $args {} {-delay_type -max_paths}] found
    if {[wrong clockless]} { return {} }
    return path:[expr {[dict get $found -delay_type] eq "max" ? $::scenario(setup) : $::scenario(hold)}]
}
proc write_bitstream {path} {
    if {!$::routed} { stub_fail "nothing is routed" }
    set file [open $path w]; puts -nonewline $file "a bitstream"; close $file
    if {[wrong evaluation]} {
        puts "CRITICAL WARNING: \[Vivado 12-1790\] Evaluation License Warning: This design contains one or more IP cores\
            that use separately licensed features."
        dict incr ::counts {Vivado 12-1790}
    }
}

# --- for the test: all that was recorded
proc dump {} {
    foreach cell $::cells { puts "cell\t$cell\t$::kind($cell)" }
    foreach {name value} [array get ::config] { puts "config\t$name\t$value" }
    foreach {a b} [concat {*}$::intf_nets] { puts "interface\t$a\t$b" }
    foreach {a b} [concat {*}$::nets] { puts "net\t$a\t$b" }
    foreach {a b} [concat {*}$::assigned] { puts "assigned\t$a\t$b" }
    foreach {a b} [concat {*}$::excluded] { puts "excluded\t$a\t$b" }
    foreach call $::calls { puts "call\t[join $call \t]" }
    puts "part\t$::part_used"
}
