module gantry/bench/load

go 1.25
