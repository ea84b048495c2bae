# The accelerator alone, out of context: real figures in minutes, no processing system and no bitstream.
#     vivado -mode batch -notrace -nojournal -log synth.log -source synth.tcl
# Never run on a real Vivado.
set here [file dirname [file normalize [info script]]]
foreach name {settings common} { source [file join $here $name.tcl] }
set results [file join $here synth_results]
set partial [file join $here synth_results.partial]
file delete -force $results $partial
file mkdir [file join $partial reports]

cd [file join $here hdl] ;# where $readmemh("./NAME.dat") looks
foreach name $sources {
    set path [file join $here $name]
    if {[file extension $path] eq ".sv"} { read_verilog -sv $path } else { read_verilog $path }
}
read_xdc -mode out_of_context [file join $here clock.xdc]
synth_design -top accelerator -part $part -mode out_of_context
opt_design
place_design
route_design
write_reports [file join $partial reports]
refuse_listed_here $listed
refuse_slack
write_text [file join $partial facts.txt] "project_key $project_key\nvivado [version -short]"
file rename $partial $results
say "done: $results"
