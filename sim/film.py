"""Films of a robot: an MP4 file that is whole at every moment, and the captions of its pictures."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Frame = NDArray[np.uint8]  # [height, width, 3]

PACKAGES = ("imageio_ffmpeg", "PIL")  # those of the extra `viz` that are imported here
FRAMES = 12.5  # a second
SIZE = 480, 304  # pixels, of a picture
BAR = 80  # pixels below it; with them, sizes are multiples of 16, as the codec wants
LONGEST_GAP = 10.0  # s; a clock that goes further at once was set
BACKGROUND, TEXT, PALE, ALARM = (24, 27, 33), (245, 245, 245), (150, 158, 170), (255, 96, 80)
COLUMNS = 4  # of the figures below a picture


class Film:
    """An MP4 file that is written frame by frame.

    It comes in fragments of a second, so that it can be played while it grows, and after whoever
    writes it was killed. To be closed.

    Args:
        path: of the file; one that is there is replaced.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        import imageio_ffmpeg

        path.touch()
        self.frames, self._last = 0, b""
        width, height = SIZE[0], SIZE[1] + BAR
        self._writer: Generator[None, Any, None] = imageio_ffmpeg.write_frames(
            str(path),
            (width, height),
            fps=FRAMES,
            codec="libx264",
            ffmpeg_log_level="error",
            output_params=[
                *("-preset", "veryfast", "-tune", "zerolatency", "-threads", "1"),
                *("-g", str(round(FRAMES))),
                *("-movflags", "+frag_keyframe+empty_moov+default_base_moof"),
                *("-flush_packets", "1"),
            ],
        )
        self._writer.send(None)

    def add(self, frame: Frame, count: int = 1) -> None:
        """Adds a frame that is seen from now on; what was seen before fills the time until then.

        Args:
            frame: [height, width, 3].
            count: of frames to come to now, at least 1.

        Raises:
            OSError: it cannot be written.
        """
        data = np.ascontiguousarray(frame).tobytes()
        for _ in range(count - 1):
            self._writer.send(self._last or data)
        self._writer.send(data)
        self.frames, self._last = self.frames + count, data

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


class FrameClock:
    """How many frames a film lacks as a robot's clock goes on: a second of the film is one of the
    robot's. A clock that is set back or far ahead goes on from where it was."""

    def __init__(self) -> None:
        self._begin: int | None = None
        self._before, self._given = 0, 0

    def due(self, now: int) -> int:
        """Frames that are to be added now.

        Args:
            now: of the robot's clock, ns.
        """
        passed = now - self._before
        if self._begin is None or not 0 <= passed <= LONGEST_GAP * 1e9:
            seen = 0 if self._begin is None else self._before - self._begin
            self._begin = now - seen
        self._before = now
        wanted = int((now - self._begin) * 1e-9 * FRAMES + 1e-6) + 1
        lacking = wanted - self._given
        self._given = wanted
        return lacking


@dataclass(frozen=True)
class Caption:
    """What is written about a picture."""

    title: str
    figures: Sequence[tuple[str, str]]  # name and value, at most eight
    alarm: str = ""  # what is not as it should be


def captioned(picture: Frame, caption: Caption) -> Frame:
    """A picture [height, width, 3] with its caption."""
    from PIL import Image, ImageDraw

    width, height = SIZE
    image = Image.new("RGB", (width, height + BAR), BACKGROUND)
    image.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(image)
    _write(draw, (10, 8), caption.title, TEXT, 15, width - 20, shadow=True)
    _write(draw, (10, 30), caption.alarm, ALARM, 15, width - 20, shadow=True)
    cell = width / COLUMNS
    for k, (name, value) in enumerate(caption.figures):
        x, y = 10 + cell * (k % COLUMNS), height + 5 + BAR / 2 * (k // COLUMNS)
        _write(draw, (x, y), name, PALE, 10, cell - 14)
        _write(draw, (x, y + 12), value, TEXT, 15, cell - 14)
    return np.asarray(image, np.uint8)


def _write(
    draw: ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
    size: int,
    room: float,
    shadow: bool = False,
) -> None:
    """A line of text, smaller where there is no room for it."""
    while size > 9 and draw.textlength(text, _font(size)) > room:
        size -= 1
    edge = 2 if shadow else 0
    draw.text(place, text, colour, _font(size), stroke_width=edge, stroke_fill=(0, 0, 0))


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def free_path(folder: Path) -> Path:
    """`video.mp4` in a folder, or `video-2.mp4`, … where there is one."""
    number = 1
    while True:
        path = folder / ("video.mp4" if number == 1 else f"video-{number}.mp4")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            number += 1
        else:
            return path
