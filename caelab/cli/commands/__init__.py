"""The commands, one module each, which imports nothing heavy at its top."""

COMMANDS = {
    "analyse": "caelab.cli.commands.analyse:analyse",
    "check": "caelab.cli.commands.check:check",
    "compare": "caelab.cli.commands.compare:compare",
    "completion": "caelab.cli.commands.completion:completion",
    "convert-weight": "caelab.cli.commands.convert:convert_weight",
    "data": "caelab.cli.commands.listing:data",
    "figures": "caelab.cli.commands.redraw:figures",
    "finetune": "caelab.cli.commands.finetune:finetune",
    "new": "caelab.cli.commands.new:new",
    "plugins": "caelab.cli.commands.listing:plugins",
    "report": "caelab.cli.commands.redraw:report",
    "reproduce": "caelab.cli.commands.study:reproduce",
    "study": "caelab.cli.commands.study:study",
    "train": "caelab.cli.commands.train:train",
}
"""Where each command lives, as ``module:attribute``."""
