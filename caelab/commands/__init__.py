"""The commands, each in a module of its own that imports nothing heavy at its top."""

COMMANDS = {
    "analyse": "caelab.commands.analyse:analyse",
    "check": "caelab.commands.check:check",
    "compare": "caelab.commands.compare:compare",
    "data": "caelab.commands.listing:data",
    "figures": "caelab.commands.redraw:figures",
    "new": "caelab.commands.new:new",
    "plugins": "caelab.commands.listing:plugins",
    "report": "caelab.commands.redraw:report",
    "train": "caelab.commands.train:train",
}
"""Where each command lives, as ``module:attribute``."""
