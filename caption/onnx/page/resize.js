"use strict";
// Resizing as Pillow does it, to the same bytes: a filter whose support grows with the scale, one pass
// along the rows and one along the columns, whole numbers with PRECISION bits after the point.

const PRECISION = 22;
const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weight(x) {
      const a = -0.5, d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
};

// For each of `outSide` pixels: the first source pixel, their number, and at i * size their weights.
function coefficients(inSide, outSide, filter) {
  const scale = inSide / outSide, stretch = Math.max(scale, 1), support = filter.support * stretch;
  const size = Math.ceil(support) * 2 + 1;
  const firsts = new Int32Array(outSide), counts = new Int32Array(outSide);
  const weights = new Int32Array(outSide * size);
  for (let i = 0; i < outSide; i += 1) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(inSide, Math.trunc(centre + support + 0.5)) - first;
    const exact = Array.from({ length: count },
      (_, j) => filter.weight((j + first - centre + 0.5) * (1 / stretch)));
    let sum = 0;
    for (const weight of exact) sum += weight;
    exact.forEach((weight, j) => {
      const whole = (sum ? weight / sum : weight) * 2 ** PRECISION;
      weights[i * size + j] = Math.trunc(whole + (whole < 0 ? -0.5 : 0.5));
    });
    firsts[i] = first;
    counts[i] = count;
  }
  return { size, firsts, counts, weights };
}

// Resizes along one axis, into bytes RGB of `lines` lines of `along.firsts.length` pixels.
// `step` is the distance between two source pixels, `stride` between two lines, in bytes.
function resample(source, along, lines, step, stride, target, targetStep, targetStride) {
  const { size, firsts, counts, weights } = along;
  for (let line = 0; line < lines; line += 1) {
    for (let i = 0; i < firsts.length; i += 1) {
      let at = line * stride + firsts[i] * step;
      let red = 1 << (PRECISION - 1), green = red, blue = red;
      for (let j = i * size, end = j + counts[i]; j < end; j += 1, at += step) {
        red += source[at] * weights[j];
        green += source[at + 1] * weights[j];
        blue += source[at + 2] * weights[j];
      }
      const to = line * targetStride + i * targetStep;
      target[to] = red >> PRECISION; // the target clamps to 0..255
      target[to + 1] = green >> PRECISION;
      target[to + 2] = blue >> PRECISION;
    }
  }
}

// The picture as bytes RGB of the new size. area(left, top, width, height) returns bytes RGBA of a part
// of it, so that a large picture is never in memory as a whole. `filter` is one of FILTERS.
const STRIP = 256; // pixels
function resize(area, width, height, newWidth, newHeight, filter) {
  const across = coefficients(width, newWidth, filter), down = coefficients(height, newHeight, filter);
  const found = new Uint8ClampedArray(newHeight * newWidth * 3);
  // as Pillow 13 (python-pillow/Pillow#9549); before, rows always came first
  const columnsFirst = height - newHeight > Math.max(0, 2 * (width - newWidth));
  if (columnsFirst) {
    const low = new Uint8ClampedArray(newHeight * width * 3);
    for (let left = 0; left < width; left += STRIP) {
      const columns = Math.min(STRIP, width - left);
      resample(area(left, 0, columns, height), down, columns, 4 * columns, 4,
        low.subarray(3 * left), 3 * width, 3);
    }
    resample(low, across, newHeight, 3, 3 * width, found, 3, 3 * newWidth);
  } else {
    const narrow = new Uint8ClampedArray(height * newWidth * 3);
    for (let top = 0; top < height; top += STRIP) {
      const rows = Math.min(STRIP, height - top);
      resample(area(0, top, width, rows), across, rows, 4, 4 * width,
        narrow.subarray(3 * newWidth * top), 3, 3 * newWidth);
    }
    resample(narrow, down, newWidth, 3 * newWidth, 3, found, 3 * newWidth, 3);
  }
  return found;
}
