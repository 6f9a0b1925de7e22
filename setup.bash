# Source this file from bash or zsh, from any folder:  . ./setup.bash
# It makes what is missing (a virtual environment, the dependencies, the build of ros2_ws) and sets
# the environment of the shell. All of the work is done by scripts/setup_env.bash in a process of its
# own, which prints the `export` lines that are taken over here: no function, option or helper
# variable is left behind, whatever the shell's options are and wherever Ctrl-C comes.

if [ -n "${ZSH_VERSION:-}" ]; then
    case "${ZSH_EVAL_CONTEXT:-}" in
        *file*) eval "$(BASH_ENV='' command bash "$(dirname -- "${(%):-%x}")/scripts/setup_env.bash" || echo return 1)" ;;
        *) BASH_ENV='' command bash "$(dirname -- "$0")/scripts/setup_env.bash" --build-only ;;
    esac
elif [ -z "${BASH_VERSION:-}" ]; then
    echo "setup: this shell is neither bash nor zsh: start one of them and source setup.bash there." >&2
    return 1 2>/dev/null || exit 1
elif [ "${BASH_SOURCE[0]}" = "$0" ]; then
    BASH_ENV='' command bash "$(dirname -- "$0")/scripts/setup_env.bash" --build-only
else
    eval "$(BASH_ENV='' command bash "$(dirname -- "${BASH_SOURCE[0]}")/scripts/setup_env.bash" || echo return 1)"
fi
