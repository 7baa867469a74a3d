"""The captions of one picture, which a notebook shows below the picture.

In: the picture and its captions. Out: a list of captions with a short repr and HTML for notebooks.
"""

import base64
import html
import io
from collections.abc import Iterable

from PIL import Image

from caption.decoding.decode import Caption

SIDE = 320  # pixels of the longer side in a notebook


class CaptionedImage(list[Caption]):
    """The captions of a picture, best first."""

    def __init__(self, image: Image.Image, captions: Iterable[Caption]) -> None:
        super().__init__(captions)
        self.image = image

    def _repr_html_(self) -> str:
        """A thumbnail of the picture above its captions."""
        small, data = self.image.copy(), io.BytesIO()
        small.thumbnail((SIDE, SIDE))
        small.save(data, "PNG")
        source = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
        texts = [html.escape(caption.text) for caption in self]
        lines = "".join(f"<div>{text}</div>" for text in texts)
        image = f'<img src="{source}" alt="{texts[0]}">'
        return f"<figure>{image}<figcaption>{lines}</figcaption></figure>"
