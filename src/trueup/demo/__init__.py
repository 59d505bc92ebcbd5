"""The play behind `trueup demo`: everything in it is real. Imported by nothing but its command and the benchmarks."""
