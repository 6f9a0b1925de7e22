"""What commands of `mbrl` do that are about runs on disk."""

from mbrl_node.commands.exchange import export, import_bag
from mbrl_node.commands.model_versions import models, promote, rollback
from mbrl_node.commands.run_list import runs

__all__ = ["export", "import_bag", "models", "promote", "rollback", "runs"]
