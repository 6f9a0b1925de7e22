"""The live view's page: a robot in 3D, what is predicted of it, how it learns, and buttons for an
operator. It knows no ROS; `mbrl_node.ros.view_node` fills it."""
