# What build.tcl and synth.tcl share: how they stop, and what makes a finished design a bad one.

# Stop with one line that says why. Vivado's own lines begin in the same way. A bitstream that was not checked goes.
proc fail {kind text} {
    file delete -force [file join $::partial unchecked.bit]
    puts "ERROR: \[cxrflow $kind\] $text"
    exit 1
}

proc say {text} { puts "INFO: \[cxrflow\] $text" }

proc read_text {path} {
    set file [open $path r]
    set text [read $file]
    close $file
    return $text
}

proc write_text {path text} {
    set file [open $path w]
    puts $file $text
    close $file
}

# The first line of a run's log that is an error, or what else there is to say.
proc first_error {log} {
    if {![file exists $log]} { return "it wrote no log" }
    set text [read_text $log]
    if {[regexp -line {^ERROR: .*$} $text line]} { return $line }
    if {[regexp -line {^.*(Abnormal program termination|Killed|segfault).*$} $text line]} { return $line }
    return "its log names no error"
}

# Critical warnings of the kinds that settings.tcl lists mean a bitstream that is not the verified design.
proc refuse_listed {listed texts} {
    foreach {id reason} $listed {
        foreach text $texts {
            # Ids are letters, digits, blanks and hyphens: nothing that a pattern would take for its own.
            if {[regexp -line "^CRITICAL WARNING: \\\[$id\\\].*\$" $text line]} {
                fail "critical warning" "$reason: $line"
            }
        }
    }
}

# The same for the messages of this very session, which are in no run's log.
proc refuse_listed_here {listed} {
    foreach {id reason} $listed {
        if {[get_msg_config -id $id -count] > 0} {
            fail "critical warning" "$reason: \[$id\], see above"
        }
    }
}

# Worst slack of one kind [ns]. No path at all means that the clock was lost, which must not pass for timing that is met.
proc worst_slack {kind type} {
    set paths [get_timing_paths -delay_type $type -max_paths 1]
    if {[llength $paths] == 0} { fail "timing" "there is no $kind path: the clock does not reach the design" }
    set slack [get_property SLACK [lindex $paths 0]]
    if {![string is double -strict $slack]} { fail "timing" "the $kind paths have no slack: nothing constrains them" }
    return $slack
}

proc refuse_slack {} {
    set setup [worst_slack setup max]
    set hold [worst_slack hold min]
    if {$setup < 0 || $hold < 0} {
        fail "timing" "timing is not met: worst setup slack $setup ns, worst hold slack $hold ns"
    }
}

proc write_reports {folder} {
    report_timing_summary -file [file join $folder timing_summary.rpt]
    report_utilization -file [file join $folder utilization.rpt]
    report_utilization -hierarchical -file [file join $folder utilization_hierarchical.rpt]
    report_power -file [file join $folder power.rpt]
}
