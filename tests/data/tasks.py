"""The cart-pole and another task of it, with targets."""

from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole").with_overrides(
    episode={"length": 2.0, "reset_service": None}, goal={"hold_time": 1.0}
)
# Where the cart and the top of the pole are to be.
REACH = SPEC.with_overrides(
    task="reach",
    targets=[
        {
            "topic": "/goal",
            "type": "geometry_msgs/msg/PointStamped",
            "frame": "rail",
            "fields": [
                {"name": "goal_x", "path": "point.x", "unit": "m", "min": -2, "max": 2},
                {
                    **{"name": "goal_z", "path": "point.z", "unit": "m"},
                    **{"min": 0, "max": 1, "initial": 0.25},
                },
            ],
        },
        {
            "topic": "/speed",
            "type": "std_msgs/msg/Float64MultiArray",
            "fields": [
                {"name": "speed", "path": "data[1]", "unit": "m/s", "min": -1, "max": 1},
            ],
        },
    ],
    reward=[
        {"term": "distance", "of": ["x", "theta"], "target": ["goal_x", "goal_z"], "weight": -1},
        {"term": "square", "of": "x_dot", "target": "speed", "weight": -0.5},
    ],
    goal=None,
)
