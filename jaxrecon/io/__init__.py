"""Raw data in, images out: what a file holds, in words and arrays; images with provenance."""

from jaxrecon.io._mri import read_maps
from jaxrecon.io._read import read
from jaxrecon.io._scan import CTScan, MRIScan, NonCartesianScan, Scan, ScanError
from jaxrecon.io._write import Map, check_output, map_path, record, write

__all__ = [
    "CTScan",
    "MRIScan",
    "Map",
    "NonCartesianScan",
    "Scan",
    "ScanError",
    "check_output",
    "map_path",
    "read",
    "read_maps",
    "record",
    "write",
]
