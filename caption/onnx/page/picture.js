"use strict";
// A picture's file becomes the pixels that the encoder takes, as prepro.images and prepro.transform do
// it. One difference: Python decodes a JPEG of more than twice the size at half of its size.

const MAX_PIXELS = 50e6;

// {pixels: (3, crop, crop) bytes, width, height}; an Error that says in words what is wrong.
async function read(blob, transform) {
  if (!blob.size) throw new Error("an empty file");
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("not a picture that this browser can read");
  }
  const { width, height } = bitmap;
  try {
    if (width * height > MAX_PIXELS) throw new Error(`${width} x ${height} pixels are too many`);
    return { pixels: transformed(areas(bitmap), width, height, transform), width, height };
  } finally {
    bitmap.close();
  }
}

// A function that returns the bytes RGBA of a part of the picture, over white where it is transparent.
function areas(bitmap) {
  return (left, top, width, height) => {
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, -left, -top);
    const { data } = context.getImageData(0, 0, width, height);
    for (let i = 3; i < data.length; i += 4) {
      const alpha = data[i];
      if (alpha === 255) continue;
      for (let c = i - 3; c < i; c += 1) data[c] = (data[c] * alpha + 255 * (255 - alpha)) / 255;
    }
    return data;
  };
}

// The size before the crop; the longer side is rounded down.
function resizedTo(width, height, { mode, resize: side }) {
  if (mode === "square") return [side, side];
  const short = Math.min(width, height);
  return [width, height].map((length) => Math.max(1, Math.floor((length * side) / short)));
}

// The first pixel of the centre crop along a side; Python rounds half to even.
function offset(side, { crop, rounding }) {
  const spare = side - crop, half = Math.floor(spare / 2);
  if (spare % 2 === 0) return half;
  return rounding === "ceil" || half % 2 ? half + 1 : half;
}

function transformed(area, width, height, transform) {
  const [w, h] = resizedTo(width, height, transform);
  const resized = resize(area, width, height, w, h, FILTERS[transform.interpolation]);
  const side = transform.crop, left = offset(w, transform), top = offset(h, transform);
  const pixels = new Uint8Array(3 * side * side);
  for (let y = 0, i = 0; y < side; y += 1)
    for (let x = 0; x < side; x += 1, i += 1)
      for (let c = 0; c < 3; c += 1)
        pixels[c * side * side + i] = resized[((y + top) * w + x + left) * 3 + c];
  return pixels;
}

// What the encoder saw of a picture, as fractions of it: left, top, width and height of the crop and
// of the grid of regions; as attention_overlay.encoder_view.
function viewOf(width, height, { transform, extent }) {
  const sides = resizedTo(width, height, transform);
  const starts = sides.map((side) => offset(side, transform));
  const box = (first, length) =>
    [...starts.map((start) => start + first), length, length].map((v, i) => v / sides[i % 2]);
  return { seen: box(0, transform.crop), grid: box(extent.start, extent.length) };
}
