"""`python3 -m mbrl_node.commands.doctor [--json]`: for where `mbrl` itself does not start."""

import sys

from mbrl_node.commands.doctor import doctor

if __name__ == "__main__":
    if unknown := [word for word in sys.argv[1:] if word != "--json"]:
        print(f"mbrl: {unknown[0]} is no option of doctor; there is --json", file=sys.stderr)
        raise SystemExit(2)
    raise SystemExit(0 if doctor("--json" in sys.argv) else 1)
