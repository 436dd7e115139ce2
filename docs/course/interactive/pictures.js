/* Pictures in grey: black is the low end of the scale and white the high end, so that zero of a signed picture is grey. */

/** Draw pictures of the data's shape side by side, `columns` in a row, on one canvas. */
function sheet(canvas, pictures, columns, limits) {
  const gap = pictures.length > 1 ? 1 : 0;
  const rows = Math.ceil(pictures.length / columns);
  canvas.width = columns * (WIDTH + gap) - gap;
  canvas.height = rows * (HEIGHT + gap) - gap;
  const context = canvas.getContext("2d");
  pictures.forEach((pixels, at) => {
    const [low, high] = limits ?? symmetric(pixels);
    const image = context.createImageData(WIDTH, HEIGHT);
    pixels.forEach((value, pixel) => {
      const grey = Math.round((255 * (Math.min(Math.max(value, low), high) - low)) / (high - low));
      image.data.set([grey, grey, grey, 255], 4 * pixel);
    });
    context.putImageData(image, (at % columns) * (WIDTH + gap), Math.floor(at / columns) * (HEIGHT + gap));
  });
}

/** A scale around zero that the picture fills. */
function symmetric(pixels) {
  const largest = pixels.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  return [-largest, largest];
}

/** Fill an element with pictures, as many canvases as there are; canvases that are there already are drawn anew. */
function pictures(parent, all, limits, describe) {
  while (parent.children.length > all.length) parent.lastChild.remove();
  all.forEach((pixels, at) => {
    const canvas = parent.children[at] ?? parent.appendChild(element("canvas", { role: "img" }));
    canvas.setAttribute("aria-label", describe(at));
    sheet(canvas, [pixels], 1, limits);
  });
}

/** An element with attributes (those that start with "on" are listeners) and children, texts or elements. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
