#!/usr/bin/env bash
# Stands for a Python in the tests of setup.bash: answers what setup_env.bash asks of one, notes each
# call in $CALLS, and fails where a STUB_* variable says so. A copy of it is the venv's python.
printf '%s %s\n' "${0##*/}" "$*" >>"$CALLS"
case "$*" in
    *probe_python.py)
        [ "${STUB_BROKEN:-}" != yes ] || exit 1
        version=${STUB_VERSION:-3.11}
        printf '%s\n' "executable=$0" "version=$version" "venv=${STUB_VENV:-yes}" \
            "headers=${STUB_HEADERS:-yes}" "launch=${STUB_LAUNCH:-no}"
        ;;
    "-c import rclpy")
        [ "${STUB_RCLPY:-yes}" = yes ] && exit
        echo "ModuleNotFoundError: No module named 'rclpy'" >&2
        exit 1
        ;;
    "-m venv "*)
        dir=${!#}
        mkdir -p "$dir/bin" "$dir/lib/python3.11/site-packages/ros_rclpy.libs"
        cp "$0" "$dir/bin/python"
        : >"$dir/bin/colcon"
        ;;
    "-m pip install "*)
        [ "${STUB_COMPILES:-yes}" = yes ] && : >mbrl_node/planning/native/_avx2.stub.so
        [ -z "${STUB_PIP:-}" ] && exit
        echo "$STUB_PIP"
        exit 1
        ;;
    *"/colcon build "*)
        if [ -n "${STUB_COLCON:-}" ]; then
            mkdir -p log/latest_build/mbrl_msgs
            printf '%s\n' "-- fine so far" "$STUB_COLCON" >log/latest_build/mbrl_msgs/stdout_stderr.log
            echo "Failed   <<< mbrl_msgs [1.0s, exited with code 1]"
            exit 1
        fi
        [ ! -e "${STUB_COLCON_REFUSES:-/none}" ] || exit 1
        # What colcon's own file does, as far as it matters here.
        echo "export AMENT_PREFIX_PATH=\"$PWD/install/mbrl:\$AMENT_PREFIX_PATH\" COLCON_PREFIX_PATH=\"$PWD/install\"" \
            >install/local_setup.bash
        ;;
esac
