# Before synthesis: the memory files go where $readmemh("./NAME.dat") looks, the folder that the run works in.
foreach path [glob -nocomplain -directory [file join [file dirname [file normalize [info script]]] hdl] *.dat] {
    file copy -force $path [pwd]
}
