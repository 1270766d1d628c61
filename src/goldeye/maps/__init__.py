"""What LDL, HGGT and EDL look at, as arrays and as pictures: `goldeye maps`."""

from __future__ import annotations

from goldeye.maps.compute import Maps, edl_maps, hggt_maps, ldl_maps
from goldeye.maps.run import draw_edl, draw_hggt_group, draw_hggt_pictures, draw_ldl, maps_text

__all__ = [
    "Maps",
    "draw_edl",
    "draw_hggt_group",
    "draw_hggt_pictures",
    "draw_ldl",
    "edl_maps",
    "hggt_maps",
    "ldl_maps",
    "maps_text",
]
