"""A launch description in words, for `ros2 launch -p`."""

from __future__ import annotations

from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity


class LaunchIntrospector:
    """Formats launch descriptions as a tree."""

    def format_launch_description(self, launch_description: LaunchDescription) -> str:
        """The description and all that is known of what is below it, one entity a line."""
        return "\n".join([repr(launch_description), *self._lines(launch_description)])

    def _lines(self, entity: LaunchDescriptionEntity) -> list[str]:
        lines: list[str] = []
        for child in entity.describe_sub_entities():
            lines.append("├── " + child.describe())
            lines += ["│   " + line for line in self._lines(child)]
        for reason, children in entity.describe_conditional_sub_entities():
            lines.append("├── " + reason)
            for child in children:
                lines.append("│   ├── " + child.describe())
                lines += ["│   │   " + line for line in self._lines(child)]
        return lines
