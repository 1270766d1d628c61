"""Training option files of BasicSR's family (Real-ESRGAN, ESRGAN, LDL, HGGT) brought over as recipes."""

from __future__ import annotations

from goldeye.basicsr.recipe import Imported, import_options
from goldeye.basicsr.write import document, import_file, report

__all__ = ["Imported", "document", "import_file", "import_options", "report"]
