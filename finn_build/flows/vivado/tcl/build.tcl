# From the files in this folder to results/accelerator.bit and .hwh:
#     vivado -mode batch -notrace -nojournal -log vivado.log -source build.tcl
# Run it again after a failure: it goes on after the last run that finished. Never run on a real Vivado.
set here [file dirname [file normalize [info script]]]
foreach name {settings common block_design} { source [file join $here $name.tcl] }
set project [file join $here project]
set whole [file join $project whole.txt] ;# there once the project is complete, and what it was made with
set results [file join $here results]
set partial [file join $here results.partial]

proc paths {names} {
    set paths {}
    foreach name $names { lappend paths [file join $::here $name] }
    return $paths
}

# The first id of board_parts that is installed here, or nothing.
proc installed_board {} {
    foreach id $::board_parts {
        if {[llength [get_board_parts -quiet $id]] > 0} { return $id }
    }
    return ""
}

proc make_project {} {
    file delete -force $::project
    create_project $::design_name $::project -part $::part
    set board [installed_board]
    if {$board eq ""} {
        say "no board file of $::board_name is installed: its processing system is set up by our own settings"
    } else {
        set_property board_part $board [current_project]
    }
    add_files -norecurse [paths [concat $::sources $::memories]]
    update_compile_order -fileset sources_1
    set mhz [make_block_design [expr {$board ne ""}]]
    set design [get_files $::design_name.bd]
    # One synthesis of everything: one run to resume at, one report with every layer in it.
    set_property synth_checkpoint_mode None $design
    generate_target all $design
    make_wrapper -files $design -import -fileset sources_1 -top
    set_property top ${::design_name}_wrapper [current_fileset]
    update_compile_order -fileset sources_1
    # $readmemh looks where the run works, whatever was added to the project.
    set_property STEPS.SYNTH_DESIGN.TCL.PRE [file join $::here memories.tcl] [get_runs synth_1]
    refuse_listed_here $::listed
    write_text $::whole "clock_mhz $mhz\nboard_part $board"
}

proc log_of {run} { return [file join [get_property DIRECTORY [get_runs $run]] runme.log] }

proc finish {run} {
    set object [get_runs $run]
    if {[get_property PROGRESS $object] eq "100%" && ![get_property NEEDS_REFRESH $object]} {
        say "$run is finished already"
    } else {
        reset_run $run
        launch_runs $run -jobs $::jobs
        wait_on_run $run
    }
    if {[get_property PROGRESS $object] ne "100%"} {
        fail "run" "$run ended as '[get_property STATUS $object]': [first_error [log_of $run]]"
    }
    refuse_listed $::listed [list [read_text [log_of $run]]]
}

proc hardware_description {} {
    foreach kind {gen srcs} {
        set path [file join $::project $::design_name.$kind sources_1 bd $::design_name hw_handoff $::design_name.hwh]
        if {[file exists $path]} { return $path }
    }
    fail "hwh" "Vivado wrote no $::design_name.hwh"
}

file delete -force $results $partial
if {[file exists $whole]} { open_project [file join $project $design_name.xpr] } else { make_project }
finish synth_1
finish impl_1
open_run impl_1
file mkdir [file join $partial reports]
write_reports [file join $partial reports]
refuse_slack
file copy [hardware_description] [file join $partial accelerator.hwh]
write_bitstream [file join $partial unchecked.bit]
refuse_listed_here $listed
file rename [file join $partial unchecked.bit] [file join $partial accelerator.bit]
write_text [file join $partial facts.txt] \
    "project_key $project_key\nvivado [version -short]\n[string trim [read_text $whole]]"
file rename $partial $results
say "done: [file join $results accelerator.bit]"
